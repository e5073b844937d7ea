"""From a file to accounts and policies: every key, what it refuses, and everything that is wrong at once."""

from __future__ import annotations

import dataclasses
import difflib
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smarkets_pool import Account, Pool, seto
from smarkets_pool.config import TABLES, PoolConfig, load, read, read_text
from smarkets_pool.config.keys import ACCOUNT, DEFAULTS, POLICIES, POOL, SUBSCRIPTIONS, TOP, field_texts
from smarkets_pool.exceptions import ConfigError
from smarkets_pool.exchange.certificates import Certificates
from smarkets_pool.policies import Backoff, ReconnectPolicy, TimeoutPolicy
from smarkets_pool.session.settings import DEFAULT_HOST, DEFAULT_PORT

LOGIN = 'username = "u@example.com"\npassword = "pw"\n'
ALICE = f"[accounts.alice]\n{LOGIN}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder with a CA, a certificate of our own and its key."""
    made = tmp_path_factory.mktemp("files")
    certificates = Certificates()
    try:
        (made / "ca.pem").write_bytes(pathlib.Path(certificates.ca_file).read_bytes())
    finally:
        certificates.close()
    import trustme

    leaf = trustme.CA().issue_cert("client.example.com")
    (made / "both.pem").write_bytes(leaf.private_key_and_cert_chain_pem.bytes())
    (made / "cert.pem").write_bytes(leaf.cert_chain_pems[0].bytes())
    (made / "key.pem").write_bytes(leaf.private_key_pem.bytes())
    (made / "key.pem").chmod(0o600)
    (made / "open.pem").write_bytes(leaf.private_key_pem.bytes())
    (made / "open.pem").chmod(0o644)
    (made / "text.pem").write_text("no certificate\n")
    return made


def good(text: str, folder: pathlib.Path = pathlib.Path()) -> PoolConfig:
    """What a text says, which has nothing wrong with it."""
    config = read_text(text, folder=folder)
    assert list(map(str, config.problems)) == []
    return config


def settings(text: str, folder: pathlib.Path = pathlib.Path(), name: str = "alice") -> Any:
    """The session settings of an account of a good text."""
    return good(text, folder).accounts[name].account().settings


def problems(text: str, **options: Any) -> list[tuple[int | None, str, str]]:
    """Line, path and text of everything that is wrong."""
    return [(found.line, found.path, found.text) for found in read_text(text, **options).problems]


# --- every key, with a good value -----------------------------------------------------------------

#: Key of [defaults] -> its value in a file, further lines it needs, and what the settings have then.
GOOD_DEFAULTS: dict[str, tuple[str, str, Callable[[Any, pathlib.Path], bool]]] = {
    "host": ('"exchange.example.com"', "", lambda made, folder: made.host == "exchange.example.com"),
    "port": ("4801", "", lambda made, folder: made.port == 4801),
    "ssl": ("false", "", lambda made, folder: made.ssl is False),
    "ca_file": ('"ca.pem"', "", lambda made, folder: made.ca_file == str(folder / "ca.pem")),
    "cert_file": ('"both.pem"', "", lambda made, folder: made.cert_file == str(folder / "both.pem")),
    "key_file": (
        '"key.pem"',
        'cert_file = "cert.pem"',
        lambda made, folder: made.key_file == str(folder / "key.pem"),
    ),
    "tcp_nodelay": ("false", "", lambda made, folder: made.tcp_nodelay is False),
}
GOOD_SUBSCRIPTIONS = {
    "markets": ("[100001, 100000, 100001]", [seto.MarketSubscribe(market_id=n) for n in (100001, 100000)]),
    "events": ("[0, 4294967295]", [seto.EventSubscribe(event_id=n) for n in (0, 4294967295)]),
    "price_feed": ("true", [seto.PriceFeedSubscribe()]),
    "market_feed": ("true", [seto.MarketFeedSubscribe()]),
}
GOOD_POLICIES: dict[type, dict[str, float]] = {
    Backoff: {"initial": 0.25, "cap": 20, "factor": 3.5, "jitter": 0},
    ReconnectPolicy: {
        "stable_after": 0,
        "max_attempts": 7,
        "max_broken": 1,
        "login_rate": 0.5,
        "login_burst": 3,
    },
    TimeoutPolicy: {
        "connect": 1.5,
        "login": 2,
        "logout": 0.1,
        "probe_after": 29.5,
        "give_up_after": 1000,
        "heartbeat_after": 1e9,
        "send": 3.25,
        "replay": 4.5,
        "replay_orders": 1e-3,
    },
}


def test_every_key_of_a_file_is_tried_here() -> None:
    """A new key needs a good value in this module; and the tables are the ones that are documented."""
    assert set(GOOD_DEFAULTS) == set(DEFAULTS) - {"cancel_on_failure", "subscriptions"}
    assert set(GOOD_SUBSCRIPTIONS) == set(SUBSCRIPTIONS)
    assert {policy: set(values) for policy, values in GOOD_POLICIES.items()} == {
        policy: set(keys) - {"backoff"} for policy, keys in POLICIES.items()
    }
    assert set(ACCOUNT) == {"username", "password", "token", "reconnect", "timeouts", *DEFAULTS}
    assert (set(POOL), set(TOP)) == ({"store"}, {"pool", "reconnect", "timeouts", "defaults", "accounts"})
    assert len(TABLES) == 7


@pytest.mark.parametrize("key", GOOD_DEFAULTS)
@pytest.mark.parametrize("where", ["defaults", "accounts.alice"])
def test_a_setting_arrives_from_the_defaults_and_from_the_account(
    folder: pathlib.Path, key: str, where: str
) -> None:
    """Said for all accounts or for one, it is in the account's settings."""
    value, more, arrived = GOOD_DEFAULTS[key]
    text = f"{ALICE}[{where}]\n" if where == "defaults" else ALICE
    assert arrived(settings(f"{text}{key} = {value}\n{more}\n", folder), folder)


def test_what_is_not_said_is_the_default() -> None:
    """An account with nothing but a login is what ``Account`` makes of nothing but a login."""
    made, plain = settings(ALICE), Account("alice", username="u@example.com", password="pw").settings
    assert (made.host, made.port) == (DEFAULT_HOST, DEFAULT_PORT)
    for name, value in plain.as_arguments().items():
        if name != "password":
            assert getattr(made, name) == (value if name != "ssl_kwargs" else {})
    config = good(ALICE)
    assert (config.reconnect, config.timeouts) == (ReconnectPolicy(), TimeoutPolicy())
    account = config.accounts["alice"].account()
    assert (account.reconnect, account.timeouts, account.cancel_on_failure) == (None, None, False)


def test_an_account_says_otherwise_than_the_defaults(folder: pathlib.Path) -> None:
    """Each key of its own wins, and all others stay the defaults'."""
    text = f"""
[defaults]
host = "one.example.com"
port = 1
ca_file = "ca.pem"
cancel_on_failure = true
tcp_nodelay = false
[accounts.alice]
{LOGIN}
port = 2
cancel_on_failure = false
[accounts.bob]
token = "t"
host = "two.example.com"
"""
    alice, bob = settings(text, folder), settings(text, folder, "bob")
    assert (alice.host, alice.port, alice.ca_file) == ("one.example.com", 2, str(folder / "ca.pem"))
    assert (bob.host, bob.port, bob.tcp_nodelay) == ("two.example.com", 1, False)
    accounts = good(text, folder).accounts
    assert [accounts[name].account().cancel_on_failure for name in ("alice", "bob")] == [False, True]


def test_credentials_arrive() -> None:
    """User name and password, or a token; asked for at each login."""
    text = f'{ALICE}[accounts.bob]\ntoken = "t0ken"\n'
    alice, bob = settings(text), settings(text, name="bob")
    assert (alice.username, alice.password(), alice.token) == ("u@example.com", "pw", None)
    assert (bob.username, bob.password, bob.token()) == (None, None, "t0ken")


@pytest.mark.parametrize("key", GOOD_SUBSCRIPTIONS)
@pytest.mark.parametrize("where", ["defaults", "accounts.alice"])
def test_a_subscription_is_a_wish_of_the_account(key: str, where: str) -> None:
    """For all accounts or for one; each market once, in the order of the file."""
    value, wishes = GOOD_SUBSCRIPTIONS[key]
    config = good(f"{ALICE}[{where}.subscriptions]\n{key} = {value}\n")
    assert list(config.accounts["alice"].wishes()) == wishes


def test_an_accounts_subscriptions_differ_only_in_what_they_say() -> None:
    """Other markets, the same events; and an empty list takes the default's away."""
    config = good(
        f"""
[defaults.subscriptions]
markets = [1]
events = [2]
{ALICE}
subscriptions = {{ markets = [3] }}
[accounts.bob]
token = "t"
subscriptions.markets = []
"""
    )
    assert config.accounts["alice"].subscriptions == {"markets": (3,), "events": (2,)}
    assert list(config.accounts["bob"].wishes()) == [seto.EventSubscribe(event_id=2)]


def policy_in(config: PoolConfig, policy: type, name: str | None) -> Any:
    """A policy of the pool, or of an account."""
    account = config.accounts[name].account() if name else None
    reconnect = account.reconnect if account else config.reconnect
    timeouts = account.timeouts if account else config.timeouts
    if policy is Backoff:
        return reconnect.backoff
    return reconnect if policy is ReconnectPolicy else timeouts


TABLE_OF = {Backoff: "reconnect.backoff", ReconnectPolicy: "reconnect", TimeoutPolicy: "timeouts"}


@pytest.mark.parametrize(
    ("policy", "key"), [(policy, key) for policy, values in GOOD_POLICIES.items() for key in values]
)
@pytest.mark.parametrize("name", [None, "alice"], ids=["pool", "account"])
def test_a_policys_field_arrives_and_no_other_changes(policy: type, key: str, name: str | None) -> None:
    """Of the pool, or of an account that differs from the pool's in this alone."""
    value = GOOD_POLICIES[policy][key]
    base = "[reconnect]\nlogin_rate = 20\n[timeouts]\nlogin = 3.5\n" if name else ""
    heading = f"[accounts.alice.{TABLE_OF[policy]}]" if name else f"[{TABLE_OF[policy]}]"
    config = good(f"{base}{ALICE}{heading}\n{key} = {value}\n")
    expected = dataclasses.replace(policy_in(config, policy, None), **{key: value})
    assert getattr(expected, key) == value
    assert policy_in(config, policy, name) == expected


def test_an_account_without_policies_of_its_own_has_the_pools() -> None:
    """And one with a table for the one keeps the pool's other."""
    config = good(f"[timeouts]\nlogin = 3\n{ALICE}[accounts.alice.reconnect]\nmax_attempts = 2\n")
    account = config.accounts["alice"].account()
    assert account.timeouts is None
    assert account.reconnect == ReconnectPolicy(max_attempts=2)


def test_fields_may_be_changed_together_that_could_not_be_changed_alone() -> None:
    """probe_after above the default of give_up_after, with a give_up_after above that."""
    config = good(f"[timeouts]\nprobe_after = 40\ngive_up_after = 50\n{ALICE}")
    assert (config.timeouts.probe_after, config.timeouts.give_up_after) == (40, 50)


def test_the_pool_is_made_of_what_the_file_says(tmp_path: pathlib.Path) -> None:
    """``Pool.from_toml``: accounts, policies, store and subscriptions; arguments win over the file."""
    path = tmp_path / "pool.toml"
    path.write_text(
        f"""
[pool]
store = "memory"
[timeouts]
login = 3.5
[defaults.subscriptions]
markets = [7]
{ALICE}
[accounts.bob]
token = "t"
"""
    )
    path.chmod(0o600)
    pool = Pool.from_toml(path)
    assert [member.name for member in pool] == ["alice", "bob"]
    assert pool._timeouts == TimeoutPolicy(login=3.5)
    assert list(pool["bob"]._subscriptions) == [seto.MarketSubscribe(market_id=7)]
    assert Pool.from_toml(path, timeouts=TimeoutPolicy(login=1.0))._timeouts.login == 1.0
    dispatcher = Pool.new_dispatcher()
    assert Pool.from_toml(path, dispatcher=dispatcher).dispatcher is dispatcher


def test_a_store_that_there_is_not_is_refused_by_file_and_program_alike() -> None:
    """In the same words."""
    said = "there is no store 'sqlite:///x.db'; there is 'memory'"
    assert problems(f"{ALICE}[pool]\nstore = 'sqlite:///x.db'\n") == [(5, "pool.store", said)]
    with pytest.raises(ConfigError) as refused:
        Pool(store="sqlite:///x.db")
    assert str(refused.value) == said


def test_no_pool_is_made_of_a_file_with_problems(tmp_path: pathlib.Path) -> None:
    """from_toml, load and from_config raise all of them; read does not."""
    path = tmp_path / "pool.toml"
    path.write_text("[pool]\nstore = 5\nx = 1\n")
    for make in (Pool.from_toml, load, lambda path: Pool.from_config(read(path))):
        with pytest.raises(ConfigError) as refused:
            make(path)
        assert [problem.partition(": ")[0] for problem in refused.value.problems] == [
            f"{path}, accounts",
            f"{path}, line 2, pool.store",
            f"{path}, line 3, pool.x",
        ]


def test_files_are_relative_to_the_configuration(tmp_path: pathlib.Path, folder: pathlib.Path) -> None:
    """Not to the process's folder; absolute ones and those of the home stay what they are."""
    ca = folder / "ca.pem"
    path = folder / "pool.toml"
    path.write_text('[accounts.alice]\ntoken = { env = "HOME" }\nca_file = "ca.pem"\n')
    assert load(path).accounts["alice"].account().settings.ca_file == str(ca)
    for said in (str(ca), f"{folder}/../{folder.name}/ca.pem"):
        assert settings(f'{ALICE}ca_file = "{said}"', tmp_path).ca_file == said


def test_the_home_folder_is_meant_by_a_tilde(folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a command line."""
    monkeypatch.setenv("HOME", str(folder))
    assert settings(f'{ALICE}ca_file = "~/ca.pem"').ca_file == str(folder / "ca.pem")


def test_two_entries_are_equal_if_the_file_says_the_same() -> None:
    """However it is written; and they differ with any word."""
    first = good(f"[defaults]\nport = 5\n{ALICE}timeouts = {{ login = 3.0 }}\n").accounts["alice"]
    same = good(f"{ALICE}port = 5\n[accounts.alice.timeouts]\nlogin = 3\n").accounts["alice"]
    assert first == same
    for other in (
        f"{ALICE}port = 5\n",
        '[accounts.alice]\nusername = "u@example.com"\npassword = "other"\nport = 5\ntimeouts.login = 3',
        f"{ALICE}port = 5\ntimeouts.login = 3\nsubscriptions.price_feed = true\n",
    ):
        assert good(other).accounts["alice"] != first


# --- every key, with a bad value ------------------------------------------------------------------

#: Kind -> values that cannot be, and a part of what is said.
BAD_KINDS: dict[str, list[tuple[str, str]]] = {
    "text": [
        ("5", "text that is not empty, not 5"),
        ('""', "not empty"),
        ("true", "not true"),
        ("{}", "a table"),
    ],
    "host": [
        ("5", "a text that is not empty, not 5"),
        ('""', "not empty"),
        ('"stream.example.com:3801"', "the port is a key of its own"),
        ('"tls://stream.example.com"', "a name or an address alone"),
        ('"[::1]"', "a name or an address alone"),
        ('" host"', "a name or an address alone"),
    ],
    "port": [
        (value, "is to be a number from 1 to 65535, not ")
        for value in ("0", "65536", "-1", "1.0", '"3801"', "true")
    ],
    "flag": [(value, "true or false, without quotes, not ") for value in ("1", '"true"', "0.0", "[]")],
    "numbers": [
        ("5", "is to be a list of ids, such as [100000], not 5"),
        ('"all"', "a list of ids"),
        ("{}", "a list of ids, such as [100000], not a table"),
        ("[1, -1]", "whole numbers from 0 to 4294967295, and holds -1"),
        ("[4294967296]", "and holds 4294967296"),
        ("[1.0]", "and holds 1.0"),
        ("[true]", "and holds true"),
        ('["1"]', "and holds '1'"),
        ("[[1]]", "and holds a list"),
    ],
    "file": [
        ('"missing.pem"', "which cannot be read: No such file or directory"),
        ('"."', "which cannot be read: Is a directory"),
        ('"a\\u0000b"', "which cannot be read: "),
        ("5", "a text that is not empty, not 5"),
    ],
    "secret file": [
        ('"missing.pem"', "which cannot be read: No such file or directory"),
        ('"open.pem"', "can be read by its group and everybody (mode 0644): chmod 600 it"),
        ("true", "a text that is not empty, not true"),
    ],
    "secret": [
        ("5", 'is to be a text, { env = "NAME" } or { file = "path" }'),
        ('""', "is empty"),
        ("{}", "is to be a text, "),
        ('{ evn = "X" }', '{ file = "path" }; did you mean env?'),
        ('{ env = "A", file = "b" }', "is to be a text, "),
        ('{ env = "" }', "a text that is not empty behind env ="),
        ("{ file = 5 }", "a text that is not empty behind file ="),
        ('{ env = "two words" }', "a variable's name behind env ="),
        ('{ env = "NO_SUCH_VARIABLE" }', "the environment variable NO_SUCH_VARIABLE is not set, or empty"),
        ('{ file = "missing" }', "cannot be read: No such file or directory"),
    ],
    "table": [("5", "is to be a table"), ('"x"', "is to be a table"), ("[]", "is to be a table")],
}
BAD_POLICIES: dict[type, dict[str, list[str]]] = {
    Backoff: {
        "initial": ["-0.1", '"1"', "true", "nan", "1" + "0" * 400],
        "cap": ["-1", "[]", "nan"],
        "factor": ["0.9", '"2"', "nan"],
        "jitter": ["-0.1", "1.1", "nan"],
    },
    ReconnectPolicy: {
        "stable_after": ["-1", '"x"'],
        "max_attempts": ["0", "-1", "1.0", '"none"', "true"],
        "max_broken": ["0", "1.5"],
        "login_rate": ["0", "-1", '"fast"'],
        "login_burst": ["0", "1.5"],
    },
    TimeoutPolicy: {
        key: ["0", "-1", '"5"', "true", "nan", "inf", "1e10", "{}"] for key in GOOD_POLICIES[TimeoutPolicy]
    },
}


def bad_settings() -> list[Any]:
    """Heading, key, value, and what is said about it."""
    found = []
    for heading, keys in (
        ("defaults", DEFAULTS),
        ("accounts.alice", ACCOUNT),
        ("accounts.alice.subscriptions", SUBSCRIPTIONS),
        ("defaults.subscriptions", SUBSCRIPTIONS),
        ("pool", POOL),
    ):
        for key in keys.values():
            for value, said in BAD_KINDS[key.kind]:
                found.append(
                    pytest.param(heading, key.name, value, said, id=f"{heading}.{key.name}={value:.20}")
                )
    for policy, fields in BAD_POLICIES.items():
        for table in (TABLE_OF[policy], f"accounts.alice.{TABLE_OF[policy]}"):
            for name, values in fields.items():
                for value in values:
                    said = f"{name} is to be "
                    found.append(pytest.param(table, name, value, said, id=f"{table}.{name}={value:.20}"))
    return found


@pytest.mark.parametrize(("heading", "key", "value", "said"), bad_settings())
def test_a_bad_value_is_one_problem_with_its_line_and_path(
    folder: pathlib.Path, heading: str, key: str, value: str, said: str
) -> None:
    """Whatever is wrong with it: one sentence, at the line where it stands."""
    login = "" if key in ("username", "password", "token") else LOGIN
    text = f"# a comment\n[accounts.alice]\n{login}\n[accounts.bob]\ntoken = 't'\n"
    if heading == "accounts.alice":
        text = (
            text.replace(login, f"{login}{key} = {value}\n", 1)
            if login
            else text.replace("alice]\n", f"alice]\n{key} = {value}\n")
        )
    else:
        text += f"\n[{heading}]\n{key} = {value}\n"
    line = 1 + text[: text.index(f"\n{key} = {value}")].count("\n") + 1
    (found,) = problems(text, folder=folder)
    assert found[:2] == (line, f"{heading}.{key}")
    assert said in found[2]


def test_every_kind_of_value_is_tried_here() -> None:
    """A new kind needs its bad values in this module."""
    kinds = {key.kind for keys in TABLES.values() for key in keys.values()}
    assert kinds == set(BAD_KINDS) | {"policy"}


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("[timeouts]\nlogin = 3\nprobe_after = 40", "timeouts"),
        ("[timeouts]\n\nprobe_after = 40\ngive_up_after = 40", "timeouts"),
        ("[reconnect]\n[reconnect.backoff]\ninitial = 61", "reconnect.backoff"),
    ],
)
def test_fields_that_contradict_each_other_are_a_problem_of_their_table(text: str, path: str) -> None:
    """Also one that contradicts another's default."""
    (found,) = problems(f"{text}\n{ALICE}")
    assert found[1] == path
    assert ": expected " in found[2]


def test_an_account_is_measured_by_the_policy_that_it_will_have() -> None:
    """Its own probe_after against the pool's give_up_after."""
    (found,) = problems(f"[timeouts]\ngive_up_after = 20\n{ALICE}timeouts = {{ probe_after = 20 }}\n")
    assert found[:2] == (6, "accounts.alice.timeouts")
    assert found[2].startswith("give_up_after=20: expected more than probe_after (20)")


# --- keys that are not there ----------------------------------------------------------------------

HEADINGS = {
    "[pool]": ["pool"],
    "[defaults]": ["defaults"],
    "[accounts.NAME]": ["accounts.alice"],
    "[defaults.subscriptions], [accounts.NAME.subscriptions]": [
        "defaults.subscriptions",
        "accounts.alice.subscriptions",
    ],
    "[reconnect], [accounts.NAME.reconnect]": ["reconnect", "accounts.alice.reconnect"],
    "[reconnect.backoff], [accounts.NAME.reconnect.backoff]": [
        "reconnect.backoff",
        "accounts.alice.reconnect.backoff",
    ],
    "[timeouts], [accounts.NAME.timeouts]": ["timeouts", "accounts.alice.timeouts"],
}


@pytest.mark.parametrize(
    ("heading", "key", "known"),
    [
        pytest.param(heading, key, list(keys), id=f"{heading}.{key}")
        for title, keys in TABLES.items()
        for heading in HEADINGS[title]
        for key in keys
    ],
)
def test_a_misspelt_key_is_told_with_the_right_one(heading: str, key: str, known: list[str]) -> None:
    """In every table, for every key; with a value that would be right, and one that would not."""
    for wrong in (f"{key}x", f"{key[0]}{key}"):
        assert difflib.get_close_matches(wrong, known, n=1) == [key]
        text = f"{ALICE}[accounts.bob]\ntoken = 't'\n"
        if heading == "accounts.alice":
            text = text.replace("alice]\n", f"alice]\n{wrong} = 1\n")
        else:
            text += f"[{heading}]\n{wrong} = 1\n"
        line = text[: text.index(f"{wrong} = 1")].count("\n") + 1
        assert problems(text) == [(line, f"{heading}.{wrong}", f"there is no such key; did you mean {key}?")]


@pytest.mark.parametrize(
    ("text", "path", "said"),
    [
        ("[account.bob]\ntoken = 't'", "account", "there is no such key; did you mean accounts?"),
        ("[pools]\nstore = 'memory'", "pools", "there is no such key; did you mean pool?"),
        ("[pool]\nxyz = 1", "pool.xyz", "there is no such key; there are store"),
        (
            "[defaults]\npassword = 'x'",
            "defaults.password",
            "is a single account's: put it into [accounts.NAME]",
        ),
        ("[defaults]\nreconnect = {}", "defaults.reconnect", "this is a table of its own, [reconnect]"),
        ("[pool.timeouts]\nlogin = 3", "pool.timeouts", "this is a table of its own, [timeouts]"),
        (
            "[defaults]\nstore = 'memory'",
            "defaults.store",
            "there is no such key here; it belongs into [pool]",
        ),
        ("[defaults]\nmarkets = [1]", "defaults.markets", "it belongs into [defaults.subscriptions], "),
        ("[timeouts]\ncap = 3", "timeouts.cap", "it belongs into [reconnect.backoff], "),
        ("[reconnect]\nconnect = 3", "reconnect.connect", "it belongs into [timeouts], "),
        ("[reconnect]\njitter = 1", "reconnect.jitter", "it belongs into [reconnect.backoff], "),
    ],
)
def test_a_key_in_the_wrong_place_is_told_where_it_belongs(text: str, path: str, said: str) -> None:
    """Known elsewhere, or the name of a whole table, or near to one."""
    (found,) = problems(f"{ALICE}{text}\n")
    assert found[1] == path
    assert said in found[2]


def test_keys_above_every_heading_are_told_where_they_belong() -> None:
    """Written before the first heading, they are in no table."""
    assert [found[1:] for found in problems(f'host = "x"\nusername = "u"\nstore = "memory"\n{ALICE}')] == [
        ("host", "host belongs into [defaults]"),
        ("username", "username belongs into [accounts.NAME]"),
        ("store", "there is no such key here; it belongs into [pool]"),
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", [(None, "accounts", "there are no accounts: each is a table [accounts.NAME]")]),
        ("[accounts]\n", [(1, "accounts", "there are no accounts: each is a table [accounts.NAME]")]),
        (
            f"[[accounts]]\nname = 'alice'\n{LOGIN}",
            [(1, "accounts", "each account is a table with its name, [accounts.NAME] in single brackets")],
        ),
        (
            f"[accounts]\n{LOGIN}",
            [
                (2, "accounts.username", "username is a single account's: put it into [accounts.NAME]"),
                (3, "accounts.password", "password is a single account's: put it into [accounts.NAME]"),
            ],
        ),
        (
            "accounts = 5",
            [(1, "accounts", "this is to be a table, such as [accounts] with its keys below it")],
        ),
        (
            "accounts.alice = 'pw'",
            [(1, "accounts.alice", "this is to be a table, such as [accounts.alice] with its keys below it")],
        ),
        ('[accounts.""]\ntoken = "t"', [(1, 'accounts.""', "an account's name is a non-empty text, not ''")]),
    ],
)
def test_accounts_that_are_no_tables_are_told_how_to_be(text: str, found: list[tuple[int, str, str]]) -> None:
    """Each way in which a list of accounts is written wrongly leads to one sentence each."""
    got = [entry for entry in problems(text) if "no credentials" not in entry[2]]
    assert got == found


# --- what an account as a whole can have wrong ----------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("", "no credentials: give username and password, or token"),
        ("password = 'x'", "no credentials: give username and password, or token"),
        ("username = 'u'", "no password for 'u': give one, or token"),
        ("hots = 'x'", "no credentials: give username and password, or token"),
    ],
)
def test_an_account_without_credentials_is_a_problem_at_its_heading(lines: str, said: str) -> None:
    """None, or half of them; also beside a misspelt key that is no credential."""
    assert (3, "accounts.bob", said) in problems(f"{ALICE}"[:0] + f"\n\n[accounts.bob]\n{lines}\n")


@pytest.mark.parametrize(
    "lines", ["username = 'u'\npasword = 'x'", "toke = 't'", "login = 'u'\npw = 'x'", "token = 5"]
)
def test_what_only_follows_from_another_problem_is_not_told(lines: str) -> None:
    """That there are no credentials, when one is misspelt, of an unknown name, or has a wrong type."""
    assert not [found for found in problems(f"[accounts.bob]\n{lines}\n") if "give" in found[2]]


def test_everything_wrong_with_one_account_is_told_at_once(folder: pathlib.Path) -> None:
    """Credentials, TLS, policies and subscriptions do not hide each other."""
    text = """[accounts.alice]
username = "u"
ssl = false
ca_file = "ca.pem"
key_file = "key.pem"
timeouts = { login = 0 }
subscriptions = { markets = 1 }
prot = 1
"""
    found = problems(text, folder=folder)
    assert [(line, path) for line, path, _ in found] == [
        (1, "accounts.alice"),
        (5, "accounts.alice.key_file"),
        (5, "accounts.alice.key_file"),
        (6, "accounts.alice.timeouts.login"),
        (7, "accounts.alice.subscriptions.markets"),
        (8, "accounts.alice.prot"),
    ]
    assert found[0][2] == "no password for 'u': give one, or token"
    assert "only TLS has a use for ca_file, key_file" in found[1][2]
    assert found[2][2] == "key_file is the key of a certificate: give cert_file too"


@pytest.mark.parametrize(
    ("lines", "path", "said"),
    [
        ('ca_file = "text.pem"', "ca_file", "no TLS context can be made of ca_file "),
        ('cert_file = "ca.pem"', "cert_file", "no TLS context can be made of cert_file "),
        ('ssl = false\nca_file = "ca.pem"', "ca_file", "ssl=False sends everything in the clear"),
        ('key_file = "key.pem"', "key_file", "key_file is the key of a certificate: give cert_file too"),
    ],
)
def test_what_the_defaults_have_wrong_for_every_account_is_told_once(
    folder: pathlib.Path, lines: str, path: str, said: str
) -> None:
    """At the line in [defaults], however many accounts there are; of an account's own at that account."""
    accounts = "".join(f"[accounts.a{number}]\ntoken = 't{number}'\n" for number in range(50))
    (found,) = problems(f"{accounts}[defaults]\n{lines}\n", folder=folder)
    assert found[:2] == (101 + lines.count("\n") + 1, f"defaults.{path}")
    assert said in found[2]
    (found,) = problems(f"{accounts}{lines}\n", folder=folder)
    assert found[:2] == (100 + lines.count("\n") + 1, f"accounts.a49.{path}")
    assert said in found[2]


@pytest.mark.parametrize(
    ("lines", "where"),
    [
        ('username = "ca_file"', (1, "accounts.a")),
        ('username = "key_file"\ncert_file = "missing.pem"', (1, "accounts.a")),
        ('token = "t"\nca_file = "key_file.pem"', (3, "accounts.a.ca_file")),
    ],
)
def test_a_value_that_is_called_like_a_key_is_told_where_it_stands(
    folder: pathlib.Path, lines: str, where: tuple[int, str]
) -> None:
    """A user name or a file's name does not lead to another key's line, and hides nothing."""
    (folder / "key_file.pem").write_text("no certificate")
    assert where in [found[:2] for found in problems(f"[accounts.a]\n{lines}\n", folder=folder)]


@pytest.mark.parametrize("heading", ["[defaults]\n", ""], ids=["defaults", "account"])
@pytest.mark.parametrize(
    ("lines", "path"),
    [
        ('cert_file = "missing.pem"\nkey_file = "key.pem"', "cert_file"),
        ('cert_file = "cert.pem"\nkey_file = "open.pem"', "key_file"),
        ('ca_file = "missing.pem"\nssl = false', "ca_file"),
    ],
)
def test_what_follows_from_a_file_that_cannot_be_used_is_not_told(
    folder: pathlib.Path, heading: str, lines: str, path: str
) -> None:
    """A certificate without its key, or a key without its certificate, because the other one is refused."""
    (found,) = problems(f"[accounts.a]\ntoken = 't'\n{heading}{lines}\n", folder=folder)
    assert found[1].endswith(f".{path}")


def test_one_login_twice_at_the_same_host_is_told() -> None:
    """By user name, also with a broken password; the same at another host is another one."""
    text = f"""{ALICE}
[accounts.bob]
username = "u@example.com"
password = 5
[accounts.carol]
username = "u@example.com"
password = "x"
port = 1
[accounts.dave]
token = "t"
[accounts.erin]
token = "t"
"""
    said = "this is the same login as account {!r}: keep one of them"
    assert problems(text) == [
        (5, "accounts.bob", said.format("alice")),
        (7, "accounts.bob.password", 'password is to be a text, { env = "NAME" } or { file = "path" }'),
        (14, "accounts.erin", said.format("dave")),
    ]


def test_the_accounts_of_a_broken_file_are_known_by_name_in_its_order() -> None:
    """So that filters of handlers can be checked against them."""
    config = read_text(
        "[accounts.zoe]\nx = 1\n[accounts]\nhost = 'x'\n[accounts.bob]\n[accounts.alice]\ntoken = 't'\n"
    )
    assert config.names == ("zoe", "bob", "alice")
    assert list(config.accounts) == ["alice"]


# --- a whole broken file --------------------------------------------------------------------------


def test_a_whole_broken_file_gives_all_its_problems_by_line(folder: pathlib.Path) -> None:
    """One of everything: each has its line, and they come in the order of the file."""
    text = """
top = 1
[pool]
store = "sqlite:///positions.db"
sotre = "memory"
[reconnect]
max_attempts = 0
login_rate = "fast"
backoff = { cap = -1, jiter = 0.5 }
[timeouts]
connect = "5"
probe_after = 40
[defaults]
prot = 3801
port = "3801"
ssl = "true"
ca_file = "missing.pem"
token = "t"
[defaults.subscriptions]
markets = 100000
evnets = []
[accounts.alice]
usrname = "alice"
password = "pw"
[accounts.bob]
username = "bob"
password = { env = "NO_SUCH_VARIABLE" }
timeouts = { conect = 3, login = 0 }
[accounts."car ol"]
token = { file = "missing" }
cancel_on_failure = "yes"
[accounts.dave]
reconnect.backoff.factor = 0
subscriptions = 7
[accounts.erin]
token = 't'
host = "tls://x"
key_file = "open.pem"
[accounts.frank]
token = 't'
"""
    assert [(line, path) for line, path, _ in problems(text, folder=folder)] == [
        (2, "top"),
        (4, "pool.store"),
        (5, "pool.sotre"),
        (7, "reconnect.max_attempts"),
        (8, "reconnect.login_rate"),
        (9, "reconnect.backoff.jiter"),
        (9, "reconnect.backoff.cap"),
        (10, "timeouts"),
        (11, "timeouts.connect"),
        (14, "defaults.prot"),
        (15, "defaults.port"),
        (16, "defaults.ssl"),
        (17, "defaults.ca_file"),
        (18, "defaults.token"),
        (20, "defaults.subscriptions.markets"),
        (21, "defaults.subscriptions.evnets"),
        (23, "accounts.alice.usrname"),
        (27, "accounts.bob.password"),
        (28, "accounts.bob.timeouts.conect"),
        (28, "accounts.bob.timeouts.login"),
        (30, 'accounts."car ol".token'),
        (31, 'accounts."car ol".cancel_on_failure'),
        (32, "accounts.dave"),
        (33, "accounts.dave.reconnect.backoff.factor"),
        (34, "accounts.dave.subscriptions"),
        (37, "accounts.erin.host"),
        (38, "accounts.erin.key_file"),
        (39, "accounts.frank"),
    ]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"[pool]\n# caf\xe9\n", "line 2: this is no UTF-8 text: there is a byte 0xe9"),
        ("[pool]".encode("utf-16"), "line 1: this is no UTF-8 text: there is a byte 0xff"),
        (b"[pool\n", "line 1: this is no TOML: "),
    ],
)
def test_a_file_that_is_no_text_or_no_toml_is_told_with_its_line(
    tmp_path: pathlib.Path, data: bytes, said: str
) -> None:
    """Nothing is raised by ``read``; ``load`` raises it with the file's name."""
    path = tmp_path / "pool.toml"
    path.write_bytes(data)
    (problem,) = read(path).problems
    assert str(problem).startswith(said)
    with pytest.raises(ConfigError) as refused:
        load(path)
    assert str(refused.value).startswith(f"{path}, {said}")


def test_a_file_that_cannot_be_read_is_named(tmp_path: pathlib.Path) -> None:
    """Not there, or a folder."""
    for path, why in ((tmp_path / "none", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(ConfigError, match=f"the configuration '{path}' cannot be read: {why}"):
            read(path)


# --- size -----------------------------------------------------------------------------------------


def many(accounts: int, wrong: int = 0) -> str:
    """A file of so many accounts, some of them with a misspelt key."""
    return "".join(
        f"[accounts.account-{number}]\n"
        f'username = "u{number}@example.com"\npassword = "p{number}"\n'
        f"timeouts = {{ login = 3.0 }}\n" + "prot = 3801\n" * (number < wrong)
        for number in range(accounts)
    )


def steps(text: str) -> int:
    """How many functions are called to read a text."""
    count = 0

    def note(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        read_text(text)
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize("share", [0, 5], ids=["good", "every fifth wrong"])
def test_reading_costs_what_the_file_is_long(share: int) -> None:
    """Twice the accounts, and twice the problems, are twice the work and no more."""
    few, more = (many(number, number // share if share else 0) for number in (200, 400))
    steps(few)
    assert steps(more) < 2.05 * steps(few)


def test_five_thousand_accounts_with_a_thousand_problems_are_read() -> None:
    """Every problem has its own line, and every good account is there."""
    config = read_text(many(5000, 1000))
    assert [problem.line for problem in config.problems] == [5 * number + 5 for number in range(1000)]
    assert len(config.names) == 5000
    assert len(config.accounts) == 5000
    assert len(good(many(5000)).accounts) == 5000


# --- the table of keys ----------------------------------------------------------------------------


def test_every_key_says_what_it_does_and_policies_in_their_own_words() -> None:
    """The reference is made of this."""
    for keys in TABLES.values():
        for name, key in keys.items():
            assert key.name == name
            assert key.text and key.default
    assert field_texts("Head.\n\na, b: one\n    and more.\nc: two.\n\nEnd: of it.") == {
        "a": "one and more.",
        "b": "one and more.",
        "c": "two.",
    }


# --- anything at all ------------------------------------------------------------------------------

EXAMPLE = (pathlib.Path(__file__).parent.parent.parent / "examples" / "accounts.toml").read_text()
#: What a slip of the hand leaves in a file.
SLIPS = st.sampled_from(
    [
        "",
        "x",
        '"',
        "'",
        "=",
        "[",
        "]",
        "{",
        "}",
        ",",
        ".",
        "\n",
        "#",
        "1",
        "-",
        "true",
        "\x00",
        "\u2028",
        '"""',
    ]
)


@given(st.lists(st.tuples(st.integers(0, len(EXAMPLE)), st.integers(0, 40), SLIPS), min_size=1, max_size=4))
def test_whatever_is_in_a_file_it_is_told_and_nothing_is_raised(slips: list[tuple[int, int, str]]) -> None:
    """The example with parts taken out and other things put in: problems by line, each a sentence."""
    text = EXAMPLE
    for place, length, put in slips:
        text = text[:place] + put + text[place + length :]
    config = read_text(text, readable_by="everybody")
    assert config.problems  # its secrets are not there
    lines = [problem.line or 0 for problem in config.problems]
    assert lines == sorted(lines)
    assert max(lines) <= text.count("\n") + 1
    assert all(problem.text and "\n" not in str(problem) for problem in config.problems)


NAMES = st.sampled_from([*ACCOUNT, *SUBSCRIPTIONS, *TOP, "env", "file", "x", ""])
VALUES = st.recursive(
    st.one_of(
        st.integers(-(10**30), 10**30),
        st.floats().map(lambda value: value if value == value else 0.5),
        st.booleans(),
        st.sampled_from(["", "x", "a b", "127.0.0.1", "ca.pem"]),
        st.datetimes().map(lambda value: value.replace(microsecond=0)),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(NAMES, inner, max_size=4),
    ),
    max_leaves=12,
)


def as_toml(value: Any) -> str:
    """A value in one line."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f'"{key}" = {as_toml(inner)}' for key, inner in value.items()) + " }"
    if isinstance(value, list):
        return f"[{', '.join(map(as_toml, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


@given(st.dictionaries(st.sampled_from([*TOP, "x"]), VALUES, min_size=1))
def test_whatever_the_keys_hold_it_is_told_and_nothing_is_raised(said: dict[str, Any]) -> None:
    """Any value under any key, tables where texts belong, and the other way round."""
    text = "\n".join(f"{key} = {as_toml(value)}" for key, value in said.items())
    config = read_text(text)
    assert all(problem.line is None or problem.line <= len(said) for problem in config.problems)
    if not config.problems:
        Pool.from_config(config)
