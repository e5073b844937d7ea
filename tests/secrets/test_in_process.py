"""No secret in any sink of a process: logs, errors, objects, statistics, dumps, copies and pickles."""

import base64
import copy
import gc
import json
import pickle
import urllib.parse

import pytest

from smarkets_pool import Account, Pool, TimeoutPolicy, seto
from smarkets_pool.cli.watch import Figures
from smarkets_pool.client import StreamingAPIClient
from smarkets_pool.config import read_text
from smarkets_pool.config.secrets import EnvSecret, LiteralSecret
from smarkets_pool.exceptions import ConfigError, Error
from smarkets_pool.exchange import EmbeddedExchange, Login
from smarkets_pool.protocol import LoginReceived, Received, SessionProtocol
from smarkets_pool.session import Session, SessionSettings, SessionSocket
from smarkets_pool.session.settings import _LONGEST_SECRET
from tests.rig import ends as frames
from tests.rig.haystack import Haystack, about, error_texts, forms, without_sequences
from tests.rig.pooling import RawServer, Talk
from tests.rig.trouble import CANARY, trouble
from tests.rig.waiting import eventually

PASSWORD = "hunter2-\"horse\" 'n' bat\\tery %s{0} é€"
#: Another, so that two of them are told apart.
TOKEN = "tok+staple/1234567890=?&"


# --- the search itself ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "secret", [PASSWORD, TOKEN, "only-letters-and-digits-0815", "日本語で書いたとても長い秘密の言葉"]
)
def test_every_form_of_a_secret_is_found(secret):
    """Whole, in halves, escaped, in other bases at any alignment, backwards, in UTF-16."""
    raw = secret.encode()
    half = len(secret) // 2
    texts = [
        secret,
        secret[: half + 1],
        secret[half - 1 :],
        secret[::-1],
        repr(secret),
        repr([secret, "'", '"']),
        repr({"a": ("'" + secret,)}),
        ascii(secret),
        repr(raw),
        repr(raw + b"'"),
        json.dumps({"p": secret}),
        json.dumps({"p": secret}, ensure_ascii=False),
        urllib.parse.quote(secret),
        urllib.parse.urlencode({"p": secret}),
        secret.encode("unicode_escape").decode(),
        str(seto.Login(username="u", password=secret)),
        raw.decode("latin-1"),
        pickle.dumps(secret).decode("latin-1"),
    ]
    for data in (raw, secret.encode("utf-16-le"), secret.encode("utf-16-be"), secret.encode("utf-16")):
        texts += [data.hex(), data.hex().upper(), data.hex(" "), data.hex(":"), repr(data)]
        for lead in (b"", b"a", b"ab"):
            for tail in (b"", b"z", b"yz"):
                texts.append(base64.b64encode(lead + data + tail).decode())
                texts.append(base64.urlsafe_b64encode(lead + data + tail).decode())
    for text in texts:
        haystack = Haystack([secret])
        haystack.add("sink", f"before{text}behind {CANARY}")
        with pytest.raises(AssertionError, match="is in sink"):
            haystack.check(CANARY)


def test_what_only_looks_like_a_secret_is_not_found():
    """Another secret, and a few letters of this one."""
    haystack = Haystack([PASSWORD])
    haystack.add("sink", CANARY, TOKEN, PASSWORD[:6], PASSWORD[-6:], *forms(TOKEN))
    haystack.check(CANARY)


def test_a_sink_to_which_nothing_came_is_found_out():
    """An empty sink proves nothing."""
    haystack = Haystack([PASSWORD])
    haystack.add("sink", "something else")
    with pytest.raises(AssertionError, match="the canary never came to sink"):
        haystack.check(CANARY)


def test_a_secret_over_two_lines_of_a_terminal_is_found():
    """Colours, frames and line ends between its letters are taken out first."""
    shown = f"│ \x1b[31m{PASSWORD[:9]}\x1b[0m│\r\n│{PASSWORD[9:]}│"
    assert PASSWORD in without_sequences(shown)


# --- a run full of trouble --------------------------------------------------------------------------


def test_no_secret_in_any_sink_of_a_run_full_of_trouble():
    """Cuts, dropped frames, twenty ways in which a login fails, handlers that raise, calls that are wrong."""
    run = trouble()
    haystack = Haystack(run.secrets)
    for sink, texts in run.texts.items():
        haystack.add(sink, *texts)
    for where, records in (("root logger", run.at_root), ("package logger", run.at_package)):
        for caught in records:
            haystack.add(f"records of the {where}", caught.message, caught.text)
            haystack.add(f"their arguments and attributes ({where})", *caught.attributes)
            haystack.add(f"their errors, with variables ({where})", caught.traceback)
            haystack.add(f"variables of who logged ({where})", caught.stack)
    assert len(run.at_root) == len(run.at_package) > 200
    assert run.down >= run.names - {CANARY}
    print(f"\n{haystack}")
    haystack.check(CANARY)


# --- single objects -----------------------------------------------------------------------------------


def test_no_object_shows_a_secret():
    """Settings, sessions, clients, configurations, figures: in no repr, attribute, copy or pickle."""
    haystack = Haystack([PASSWORD, TOKEN])
    with EmbeddedExchange(accounts=1) as exchange:
        exchange.exchange.accounts.add(CANARY, PASSWORD, TOKEN)
        exchange.logins = [Login(CANARY, PASSWORD, TOKEN)]
        settings = SessionSettings(**exchange.settings_for(0))
        session = Session(settings)
        client = StreamingAPIClient(session)
        for state in ("new", "connected", "logged in", "logged out"):
            if state == "connected":
                session.connect()
            elif state == "logged in":
                session.log_in()
            elif state == "logged out":
                client.logout()
            for thing in (session, client, session.socket, session._protocol, SessionSocket(settings)):
                haystack.add(f"a session, {state}", *about(thing), f"{CANARY}")
        session.disconnect()
        config = read_text(
            f"[accounts.{CANARY}]\nusername = {json.dumps(CANARY)}\npassword = {json.dumps(PASSWORD)}\n"
            f"[accounts.b]\ntoken = {json.dumps(TOKEN)}\n"
        )
        assert config.problems == ()
        pool = Pool.from_config(config)
        totals, rows = Figures(pool).look(1.0)
        for thing in (config, *config.accounts.values(), pool, *pool, totals, *rows):
            haystack.add("a configuration", *about(thing))
        account = Account(CANARY, settings=settings)
        for thing in (settings, account, exchange, exchange.exchange.accounts[CANARY]):
            haystack.add("accounts", *about(thing))
    client, side = SessionProtocol(), SessionProtocol()
    client.login(seto.Login(username=CANARY, password=PASSWORD), 0.0)
    side.expect_login(0.0)
    login = client.data_to_send()
    side.receive_data(login)
    event = side.next_event(0.0)
    assert isinstance(event, LoginReceived)
    received = Received("seto.login", seto.Payload(login=event.login), login, 1, False, 0.0)
    for thing in (client, side, event, received):
        haystack.add("both sides of a login", CANARY, repr(thing), str(thing))
    for holder in (settings._password, LiteralSecret(PASSWORD)):
        haystack.add("holders", *about(holder, holder=True))
    haystack.add("holders", repr(Login(CANARY, PASSWORD, TOKEN)))
    haystack.check(CANARY)


def test_settings_are_copied_with_their_secrets_and_never_pickled():
    """A copy logs in as the original; one whose secrets are functions can be pickled, and has them."""
    settings = SessionSettings("u", PASSWORD)
    for copied in (copy.copy(settings), copy.deepcopy(settings)):
        assert copied.password == PASSWORD
        assert copied.login_message().password == PASSWORD
        copied.password = "another"
        assert settings.password == PASSWORD
    for thing in (settings, Account("a", settings=settings), LiteralSecret(PASSWORD)):
        with pytest.raises(TypeError, match="not pickled"):
            pickle.dumps(thing)
    there = pickle.loads(pickle.dumps(Account("a", username="u", password=EnvSecret("WHERE_IT_IS"))))
    assert there.settings.password == EnvSecret("WHERE_IT_IS")


def test_equal_secrets_of_a_configuration_are_equal():
    """A reload compares them."""
    assert LiteralSecret("a") == LiteralSecret("a") != LiteralSecret("b")
    assert hash(LiteralSecret("a")) == hash(LiteralSecret("a"))
    assert LiteralSecret("a") != "a"
    assert LiteralSecret("a")() == "a"


@pytest.mark.parametrize("what", ["password", "token"])
def test_a_secret_that_is_a_whole_file_by_mistake_is_refused_without_it(what):
    """One that is as long as can be is taken, one more byte is a sentence about its length."""
    haystack = Haystack([PASSWORD])
    for number, fits in ((_LONGEST_SECRET, True), (_LONGEST_SECRET + 1, False)):
        secret = PASSWORD + "x" * (number - len(PASSWORD.encode()))
        settings = SessionSettings("u", **{what: secret})
        if fits:
            assert settings.login_message()
            continue
        with pytest.raises(ConfigError, match=f"the {what} has {number} bytes") as caught:
            settings.login_message()
        haystack.add("error", *error_texts(caught.value), CANARY)
    haystack.check(CANARY)


def test_a_file_that_is_no_utf8_is_not_quoted(tmp_path):
    """The codec's own error would have all of it."""
    path = tmp_path / "accounts.toml"
    path.write_bytes(f'[accounts.a]\nusername = "a"\npassword = "{TOKEN}"\n'.encode() + b"\xff")
    with pytest.raises(Error) as caught:
        Pool.from_toml(path)
    haystack = Haystack([TOKEN])
    haystack.add("error", *error_texts(caught.value))
    haystack.check("no UTF-8 text")


def test_a_session_that_is_up_keeps_no_login_for_a_replay():
    """The exchange asks for everything again, and the login is not in what it gets."""
    heard: list[bytes] = []

    def script(talk: Talk) -> None:
        talk.until("seto.login")
        talk.send(frames.login_response(), frames.replay(2, 1))
        while data := talk.socket.recv(65_536):
            heard.append(data)

    with RawServer(script) as server:
        pool = Pool([server.account(password=PASSWORD)], timeouts=TimeoutPolicy(logout=0.05))
        with pool:
            eventually(lambda: b"".join(heard).count(b"\x08") >= 2)
            eventually(lambda: pool["alice"].stats()["frames_sent_total"] >= 3)
    assert heard and PASSWORD.encode() not in b"".join(heard)
    gc.collect()
