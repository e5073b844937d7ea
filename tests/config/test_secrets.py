"""Secrets of a configuration: where they may be, who else reads them there, and that nothing tells them."""

from __future__ import annotations

import hashlib
import logging
import os
import pathlib
import pickle
import traceback
from collections.abc import Iterator
from typing import Any

import pytest

from smarkets_pool import Pool, seto
from smarkets_pool.config import read, read_text
from smarkets_pool.config import secrets as module
from smarkets_pool.config.secrets import EnvSecret, FileSecret, LiteralSecret
from smarkets_pool.exceptions import ConfigError
from smarkets_pool.exchange import EmbeddedExchange
from tests.rig.pooling import AT_ONCE, Record, user
from tests.rig.waiting import eventually

SECRET = "hunter2-horse-battery"


def every_text(error: BaseException | None) -> str:
    """All that anybody could show of an error: texts, causes, tracebacks, locals of every frame."""
    found: list[str] = []
    while error is not None:
        found += [str(error), repr(error), repr(error.args), repr(vars(error))]
        found += traceback.format_exception(error)
        shown = traceback.TracebackException.from_exception(error, capture_locals=True)
        found += [f"{frame.name} {frame.locals}" for frame in shown.stack if frame.filename != __file__]
        error = error.__cause__ or error.__context__
    return "\n".join(found)


def secret_file(folder: pathlib.Path, data: bytes | str = SECRET, mode: int = 0o600) -> pathlib.Path:
    """A file with a secret."""
    path = folder / "secret"
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    path.chmod(mode)
    return path


def refused(source: Any) -> str:
    """How a source refuses; and nothing it raises holds the secret."""
    with pytest.raises(ConfigError) as caught:
        source()
    assert SECRET not in every_text(caught.value)
    assert SECRET[::-1] not in every_text(caught.value)
    return str(caught.value)


# --- places ---------------------------------------------------------------------------------------


def test_a_secret_of_the_environment_is_asked_for_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is, with spaces and quotes."""
    source = EnvSecret("TEST_SECRET")
    for value in (SECRET, ' "x" '):
        monkeypatch.setenv("TEST_SECRET", value)
        assert source() == value


def test_a_variable_that_is_not_set_or_empty_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both look the same to whoever forgot it."""
    monkeypatch.delenv("TEST_SECRET", raising=False)
    assert refused(EnvSecret("TEST_SECRET")) == "the environment variable TEST_SECRET is not set, or empty"
    monkeypatch.setenv("TEST_SECRET", "")
    assert refused(EnvSecret("TEST_SECRET")) == "the environment variable TEST_SECRET is not set, or empty"


def test_a_variable_that_is_no_text_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told when the file is read, and not first at a login."""
    monkeypatch.setenv("TEST_SECRET", SECRET + os.fsdecode(b"\xe9"))
    assert refused(EnvSecret("TEST_SECRET")) == "the environment variable TEST_SECRET is no UTF-8 text"


@pytest.mark.parametrize(
    "data",
    [SECRET, f"{SECRET}\n", f"{SECRET}\r\n", f"{SECRET}\n\n", b"\xef\xbb\xbf" + SECRET.encode() + b"\n"],
    ids=["plain", "newline", "CRLF", "empty line", "byte order mark"],
)
def test_a_secret_files_text_is_the_secret_without_the_lines_end(
    tmp_path: pathlib.Path, data: bytes | str
) -> None:
    """Whatever editor wrote it."""
    assert FileSecret(str(secret_file(tmp_path, data)))() == SECRET


def test_spaces_belong_to_the_secret(tmp_path: pathlib.Path) -> None:
    """Who knows what a password is made of."""
    assert FileSecret(str(secret_file(tmp_path, f" {SECRET}\té \n")))() == f" {SECRET}\té "


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ("", "is empty"),
        ("\n", "is empty"),
        (SECRET.encode() + b"\xe9", "is no UTF-8 text"),
        (f"{SECRET}\nsecond line\n", "has several lines, and a secret is one"),
        (SECRET * 10_000, "has more than 65536 bytes, which is no secret"),
    ],
)
def test_a_file_that_holds_no_secret_is_named(tmp_path: pathlib.Path, data: bytes | str, why: str) -> None:
    """Empty, no text, more than one line, or far too long."""
    path = secret_file(tmp_path, data)
    assert refused(FileSecret(str(path))) == f"the secret file {str(path)!r} {why}"


def test_a_file_that_cannot_be_read_is_named(tmp_path: pathlib.Path) -> None:
    """Not there, a link to nowhere, a folder, a pipe, a name that no file can have."""
    (tmp_path / "link").symlink_to(tmp_path / "none")
    os.mkfifo(tmp_path / "pipe")
    for name, why in (
        ("none", "cannot be read: No such file or directory"),
        ("link", "cannot be read: No such file or directory"),
        (".", "is no file that can be read again and again"),
        ("pipe", "is no file that can be read again and again"),
        ("a\0b", "cannot be read: "),
    ):
        path = str(tmp_path / name)
        assert refused(FileSecret(path)).startswith(f"the secret file {path!r} {why}")


def test_what_a_link_leads_to_counts(tmp_path: pathlib.Path) -> None:
    """A link has no mode of its own; that of its file is looked at."""
    path = secret_file(tmp_path)
    (tmp_path / "link").symlink_to(path)
    source = FileSecret(str(tmp_path / "link"))
    assert source() == SECRET
    path.chmod(0o644)
    assert "can be read by its group and everybody (mode 0644)" in refused(source)


# --- who else can read it -------------------------------------------------------------------------

MODES = [
    (0o600, ""),
    (0o400, ""),
    (0o700, ""),
    (0o622, ""),
    (0o640, "its group (mode 0640)"),
    (0o604, "everybody (mode 0604)"),
    (0o644, "its group and everybody (mode 0644)"),
    (0o4644, "its group and everybody (mode 4644)"),
]


@pytest.mark.parametrize(("mode", "who"), MODES, ids=[f"{mode:04o}" for mode, _ in MODES])
def test_a_secret_file_that_others_can_read_is_refused(tmp_path: pathlib.Path, mode: int, who: str) -> None:
    """Group or everybody; the sentence says who, the mode, and what to do."""
    source = FileSecret(str(secret_file(tmp_path, mode=mode)))
    if who:
        assert refused(source) == f"the secret file {source.path!r} can be read by {who}: chmod 600 it"
    else:
        assert source() == SECRET


def as_user(monkeypatch: pytest.MonkeyPatch, uid: int) -> None:
    """This process belongs to another user, as far as the module can see."""
    monkeypatch.setattr(module.os, "geteuid", lambda: uid)


def test_a_secret_file_of_somebody_else_is_refused(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its owner reads it whatever its mode; root's is fine, root reads everything anyway."""
    path = secret_file(tmp_path)
    real = os.fstat

    def owned_by(uid: int) -> None:
        def fstat(descriptor: int) -> os.stat_result:
            status = list(real(descriptor))
            status[4] = uid
            return os.stat_result(status)

        monkeypatch.setattr(module.os, "fstat", fstat)

    as_user(monkeypatch, 1000)
    owned_by(1001)
    said = "can be read by its owner, user 1001, who is not us: chown it to us"
    assert refused(FileSecret(str(path))) == f"the secret file {str(path)!r} {said}"
    for owner in (1000, 0):
        owned_by(owner)
        assert FileSecret(str(path))() == SECRET


@pytest.mark.parametrize(("mode", "who"), MODES, ids=[f"{mode:04o}" for mode, _ in MODES])
@pytest.mark.parametrize("key", ["password", "token"])
def test_a_literal_secret_in_a_file_that_others_can_read_is_refused(
    tmp_path: pathlib.Path, mode: int, who: str, key: str
) -> None:
    """Once, at the first line that has one; what stands there is not told."""
    path = tmp_path / "pool.toml"
    more = 'username = "u"\n' if key == "password" else ""
    path.write_text(f'[accounts.a]\n{more}{key} = "{SECRET}"\n[accounts.b]\ntoken = "x{SECRET}"\n')
    path.chmod(mode)
    found = [str(problem) for problem in read(path).problems]
    assert SECRET not in repr(found)
    if who:
        line = 3 if key == "password" else 2
        assert found == [
            f"line {line}, accounts.a.{key}: a secret stands here, and the file can be read by {who}: "
            'chmod 600 the file, or say { env = "NAME" } or { file = "path" } instead'
        ]
    else:
        assert found == []


def test_a_file_without_literal_secrets_may_be_read_by_everybody(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names of variables and files are no secret."""
    monkeypatch.setenv("TEST_SECRET", SECRET)
    secret_file(tmp_path)
    path = tmp_path / "pool.toml"
    path.write_text(
        '[accounts.a]\nusername = "u"\npassword = { env = "TEST_SECRET" }\n'
        '[accounts.b]\ntoken = { file = "secret" }\n'
    )
    path.chmod(0o644)
    config = read(path)
    assert config.problems == ()
    assert config.accounts["b"].account().settings.token() == SECRET


@pytest.mark.parametrize(("mode", "who"), MODES, ids=[f"{mode:04o}" for mode, _ in MODES])
def test_a_key_that_others_can_read_is_refused(tmp_path: pathlib.Path, mode: int, who: str) -> None:
    """The private key of our certificate is a secret too, and so is one in the certificate's file."""
    import trustme

    leaf = trustme.CA().issue_cert("client.example.com")
    (tmp_path / "cert.pem").write_bytes(leaf.cert_chain_pems[0].bytes())
    key = tmp_path / "key.pem"
    key.write_bytes(leaf.private_key_pem.bytes())
    key.chmod(mode)
    text = '[accounts.a]\ntoken = "t"\ncert_file = "cert.pem"\nkey_file = "key.pem"\n'
    found = list(map(str, read_text(text, folder=tmp_path).problems))
    assert len(found) == bool(who)
    if who:
        assert found[0].startswith("line 4, accounts.a.key_file: key_file names a file that holds a secret: ")
        assert found[0].endswith(f"can be read by {who}: chmod 600 it")


# --- nothing tells it -----------------------------------------------------------------------------


def test_no_repr_and_no_copy_of_a_source_shows_the_secret(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sources, entries, accounts, settings, whole configurations, and the pool made of them."""
    monkeypatch.setenv("TEST_SECRET", SECRET)
    secret_file(tmp_path)
    config = read_text(
        f'[accounts.a]\nusername = "u"\npassword = "{SECRET}"\n'
        '[accounts.b]\ntoken = { env = "TEST_SECRET" }\n[accounts.c]\ntoken = { file = "secret" }\n'
        f'[accounts.d]\ntoken = "{SECRET}2"\n',
        folder=tmp_path,
    )
    assert config.problems == ()
    pool = Pool.from_config(config)
    things = [LiteralSecret(SECRET), config, pool, *config.accounts.values(), *pool]
    for entry in config.accounts.values():
        made = entry.account()
        things += [made, made.settings, made.login_key, *entry.arguments.values(), vars(made.settings)]
    assert SECRET not in "\n".join(f"{thing!r} {thing!s}" for thing in things)
    assert SECRET not in repr(pool.stats())


#: Everything a person could get wrong around a secret.
SLIPS = [
    "password = {s!r}",
    "pasword = {s!r}",
    "{s!r} = 1",
    "password = [{s!r}]",
    "password = {{ {s!r} = 1 }}",
    "password = {{ env = [{s!r}] }}",
    "password = {{ env = {s!r} }}",
    "password = {{ evn = {s!r} }}",
    "password = {{ value = {s!r} }}",
    "password = {{ file = [{s!r}] }}",
    "password = {{ env = 'X', file = {s!r} }}",
    "password = {{ file = {{ path = {s!r} }} }}",
    "password.literal = {s!r}",
    "password.env = {{ name = {s!r} }}",
    "token = {s!r}\ntoken = {s!r}",
    "password = {s}",
    "password = {s!r} {s}",
    'password = "{s}',
    "password = '{s}",
    'password = """{s}',
    "password = '''{s}",
    'password = "{s}\\q"',
    'password = "{s}\n"',
    'password = "{s}\x07"',
    "password {s}",
    "password = ",
    "{s}",
    "password == {s!r}",
    "password = {{ env = {s} }}",
    "password = {{ file = {s!r}",
    "[password = {s!r}",
    "subscriptions = {s!r}",
    "timeouts = {s!r}",
    "subscriptions = {{ markets = {{ password = {s!r} }} }}",
    "timeouts = {{ login = {{ password = {s!r} }} }}",
    "reconnect = {{ backoff = [{s!r}] }}",
    "host = {{ password = {s!r} }}",
    "port = [{s!r}]",
    "ssl = {{ p = {s!r} }}",
    "ca_file = [{s!r}]",
    "username = {{ password = {s!r} }}",
]


def all_said(text: str) -> str:
    """Everything that is said about a text, by whoever reads it."""
    config = read_text(text, readable_by="everybody")
    assert config.problems
    found = [repr(config), *map(str, config.problems), *map(repr, config.problems)]
    with pytest.raises(ConfigError) as caught:
        config.check()
    return "\n".join([*found, every_text(caught.value), repr(pickle.dumps(caught.value))])


@pytest.mark.parametrize("line", [line for line in SLIPS if line != "{s!r} = 1"])
@pytest.mark.parametrize(
    "heading", ["[accounts.a]\nusername = 'u'\n", "[accounts]\n", "[defaults]\n", "[pool]\n", ""], ids=repr
)
def test_a_slip_around_a_secret_tells_it_to_nobody(heading: str, line: str) -> None:
    """Wrong type, misspelt key, wrong place, broken TOML on its very line: problems and no secret."""
    said = all_said(f"# file\n{heading}{line.format(s=SECRET)}\n[accounts.b]\nx = 1\n")
    assert SECRET not in said


def test_an_account_whose_table_is_its_password_tells_it_to_nobody() -> None:
    """``[accounts]`` with ``alice = "..."`` below it."""
    said = all_said(f"[accounts]\nalice = '{SECRET}'\nbob = ['{SECRET}']\n")
    assert "accounts.alice: this is to be a table, such as [accounts.alice] with its keys below it" in said
    assert SECRET not in said


@pytest.mark.parametrize(
    "data", [SECRET.encode() + b"\xe9", SECRET.encode("utf-16")], ids=["latin 1", "UTF-16"]
)
def test_a_configuration_that_is_no_text_tells_nothing_of_what_is_in_it(
    tmp_path: pathlib.Path, data: bytes
) -> None:
    """The error of decoding would have the whole file with it."""
    path = tmp_path / "pool.toml"
    path.write_bytes(b'[accounts.a]\npassword = "' + data + b'"\n')
    with pytest.raises(ConfigError) as caught:
        Pool.from_toml(path)
    said = every_text(caught.value)
    assert "this is no UTF-8 text: there is a byte" in said
    for hidden in (SECRET, repr(SECRET.encode("utf-16-le"))[2:20]):
        assert hidden not in said


# --- a running pool -------------------------------------------------------------------------------


@pytest.fixture
def exchange() -> Iterator[EmbeddedExchange]:
    """One account."""
    with EmbeddedExchange(accounts=1, tls=False) as served:
        yield served


def running_pool(exchange: EmbeddedExchange, folder: pathlib.Path, password: str) -> tuple[Pool, Record]:
    """A pool of alice, whose password is in a file or in the environment; not started."""
    text = f"""
[defaults]
host = "{exchange.host}"
port = {exchange.port}
ssl = false
[accounts.alice]
username = "{user(exchange)}"
password = {password}
"""
    config = read_text(text, folder=folder)
    assert config.problems == ()
    pool = Pool.from_config(config, reconnect=AT_ONCE)
    return pool, Record(pool)


def change_password(exchange: EmbeddedExchange, password: str) -> None:
    """The customer has changed it on the website."""
    exchange.exchange.accounts[user(exchange)]._password = hashlib.sha256(password.encode()).digest()


def test_a_new_secret_in_its_file_is_picked_up_by_the_next_login(
    exchange: EmbeddedExchange, tmp_path: pathlib.Path
) -> None:
    """Neither restarted nor reloaded: the connection is lost, and comes back with the new password."""
    secret_file(tmp_path, exchange.logins[0].password)
    pool, record = running_pool(exchange, tmp_path, '{ file = "secret" }')
    with pool:
        record.wait("member.up")
        change_password(exchange, SECRET)
        secret_file(tmp_path, f"{SECRET}\n")
        exchange.cut(user(exchange))
        record.wait("member.up", 2)


def test_a_secret_that_cannot_be_had_for_a_while_is_asked_for_again(
    exchange: EmbeddedExchange, tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A file in the middle of being replaced, or with a wrong mode: told by name, and tried again."""
    caplog.set_level(logging.DEBUG)
    path = secret_file(tmp_path, exchange.logins[0].password)
    pool, record = running_pool(exchange, tmp_path, '{ file = "secret" }')
    with pool:
        record.wait("member.up")
        path.chmod(0o644)
        exchange.cut(user(exchange))
        why = f"the password cannot be had: the secret file {str(path)!r} can be read by its group and "
        eventually(lambda: pool["alice"].why_down.startswith(why))
        path.unlink()
        why = f"the password cannot be had: the secret file {str(path)!r} cannot be read: No such file"
        eventually(lambda: pool["alice"].why_down.startswith(why))
        for delivery in record.of("member.down"):
            assert exchange.logins[0].password not in every_text(delivery.message.error)
        secret_file(tmp_path, exchange.logins[0].password)
        record.wait("member.up", 2)
    assert exchange.logins[0].password not in caplog.text


def test_a_variable_is_asked_for_at_each_login(
    exchange: EmbeddedExchange, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program may set it anew for itself."""
    monkeypatch.setenv("TEST_SECRET", exchange.logins[0].password)
    pool, record = running_pool(exchange, tmp_path, '{ env = "TEST_SECRET" }')
    with pool:
        record.wait("member.up")
        change_password(exchange, SECRET)
        monkeypatch.setenv("TEST_SECRET", SECRET)
        exchange.cut(user(exchange))
        record.wait("member.up", 2)
        pool["alice"].send(seto.OrderCancelAll())
