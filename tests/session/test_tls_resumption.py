"""TLS sessions are resumed where that is right, never where it is not, and nothing piles up."""

from __future__ import annotations

import contextlib
import gc
import os
import pathlib
import ssl
import weakref
from collections.abc import Iterator
from typing import Any

import gevent
import pytest
import trustme

from smarkets_pool import Account, Pool
from smarkets_pool.exceptions import (
    CertificateUntrusted,
    CertificateWrongName,
    ClientCertificateRefused,
    ConnectionError,
    TlsError,
)
from smarkets_pool.exchange import EmbeddedExchange
from smarkets_pool.session import Session, SessionSettings, tls
from smarkets_pool.session.tls import context_for, known_session
from tests.rig.peers import Line, Scripted, mute
from tests.rig.pooling import AT_ONCE, Record
from tests.rig.waiting import eventually

HERE = "127.0.0.1"
AUTHORITY = trustme.CA()
STRANGER = trustme.CA()

V1_2, V1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
VERSIONS = pytest.mark.parametrize("version", [V1_2, V1_3], ids=["TLS 1.2", "TLS 1.3"])


def serving(version: ssl.TLSVersion, *names: str) -> ssl.SSLContext:
    """A server's context with keys for tickets of its own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = context.maximum_version = version
    AUTHORITY.issue_cert(*(names or (HERE,))).configure_cert(context)
    return context


class Server(Scripted):
    """Lets everybody log in and waits until they close; notes which handshakes were resumed."""

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(self.serve, context=context)
        self.resumed: list[bool] = []
        self.shown: list[object] = []

    def serve(self, line: Line) -> None:
        """Accept the login, note how the connection came about."""
        self.resumed.append(line.socket.session_reused)
        self.shown.append((line.socket.getpeercert() or {}).get("subjectAltName"))
        line.accept()
        line.until_closed()

    def restart(self, context: ssl.SSLContext | None) -> None:
        """From now on serve with another context, which knows none of the tickets; None: mute."""
        self._context = context
        self.scripts = (self.serve if context is not None else mute,)


@pytest.fixture(autouse=True)
def in_bounds(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test begins with no context made, sessions are taken at any time, and none waits for ever."""
    monkeypatch.setattr(tls, "_contexts", {})
    monkeypatch.setattr(tls, "_TAKE_EVERY", 0.0)
    with gevent.Timeout(20, AssertionError("the conversation does not end")):
        yield


@pytest.fixture
def trusted(tmp_path: pathlib.Path) -> str:
    """The right authority's certificate."""
    AUTHORITY.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return str(tmp_path / "ca.pem")


@pytest.fixture
def strange(tmp_path: pathlib.Path) -> str:
    """Another authority's certificate."""
    STRANGER.cert_pem.write_to_path(str(tmp_path / "strange.pem"))
    return str(tmp_path / "strange.pem")


def settings_for(server: Scripted, trusted: str | None, **changes: Any) -> SessionSettings:
    """Settings that log in at this server."""
    values = {"username": "u@example.com", "password": "pw", "host": server.host, "port": server.port}
    return SessionSettings(**{**values, "ca_file": trusted, "socket_timeout": 5, **changes})  # type: ignore[arg-type]


def log_in(settings: SessionSettings) -> bool:
    """Log in and out again; whether the TLS session was resumed."""
    session = Session(settings)
    with contextlib.closing(_Closing(session)):
        session.log_in()
        assert session.logged_in
        return bool(session.raw_socket.session_reused)  # type: ignore[union-attr]


class _Closing:
    def __init__(self, session: Session) -> None:
        self.close = session.disconnect


# --- resumed ----------------------------------------------------------------------------------------


@VERSIONS
def test_the_second_connection_is_resumed(version: ssl.TLSVersion, trusted: str) -> None:
    """Both ends agree that it was, and it works as well as the first; so do all that follow."""
    with Server(serving(version)) as server:
        settings = settings_for(server, trusted)
        assert [log_in(settings) for _ in range(4)] == [False, True, True, True]
        eventually(lambda: server.resumed == [False, True, True, True])


@VERSIONS
def test_one_session_object_resumes_its_own(version: ssl.TLSVersion, trusted: str) -> None:
    """Logging in again after the connection was lost is enough."""
    with Server(serving(version)) as server:
        session = Session(settings_for(server, trusted))
        for _ in range(2):
            session.log_in()
            session.disconnect()
        eventually(lambda: server.resumed == [False, True])


@VERSIONS
def test_accounts_share_what_was_proven(version: ssl.TLSVersion, trusted: str) -> None:
    """Who the exchange is does not depend on who logs in."""
    with Server(serving(version)) as server:
        assert not log_in(settings_for(server, trusted))
        assert log_in(settings_for(server, trusted, username="other@example.com", password="other"))
        assert log_in(settings_for(server, trusted, username=None, token="t", tcp_nodelay=False))


@VERSIONS
def test_a_given_context_resumes_too(version: ssl.TLSVersion, trusted: str) -> None:
    """Also a context that the caller made."""
    with Server(serving(version)) as server:
        ready = ssl.create_default_context(cafile=trusted)
        settings = settings_for(server, None, ssl_context=ready)
        assert [log_in(settings), log_in(settings)] == [False, True]


@VERSIONS
def test_a_pool_resumes_over_reconnects(version: ssl.TLSVersion, trusted: str) -> None:
    """After an outage every member comes back by a resumed session, whoever of them it was that had it."""
    context = serving(version)
    with EmbeddedExchange(accounts=5, context=context) as exchange:
        accounts = [
            Account(f"m{number}", **{**exchange.settings_for(number), "ca_file": trusted})
            for number in range(5)
        ]
        pool = Pool(accounts, reconnect=AT_ONCE)
        record = Record(pool)
        with pool:
            pool.wait_until_up(timeout=10)
            before = context.session_stats()
            for login in exchange.logins:
                exchange.cut(login.username)
            for account in accounts:
                record.wait("member.up", 2, account=account.name)
            after = context.session_stats()
            assert after["accept_good"] - before["accept_good"] == 5
            assert after["hits"] - before["hits"] == 5


def test_a_server_without_tickets_is_served(trusted: str) -> None:
    """Then every handshake is a full one, and nothing is offered."""
    context = serving(V1_2)
    context.options |= ssl.OP_NO_TICKET
    with Server(context) as server:
        settings = settings_for(server, trusted)
        assert [log_in(settings), log_in(settings)] == [False, False]


# --- never across different trust -------------------------------------------------------------------


@VERSIONS
def test_another_authority_is_asked_for_proof(version: ssl.TLSVersion, trusted: str, strange: str) -> None:
    """What was proven to those who trust one authority is not proven to those who trust another."""
    with Server(serving(version)) as server:
        assert [log_in(settings_for(server, trusted)) for _ in range(2)] == [False, True]
        with pytest.raises(CertificateUntrusted):
            log_in(settings_for(server, strange))
        # The system's authorities are others as well.
        with pytest.raises(TlsError):
            log_in(settings_for(server, None))


@VERSIONS
def test_what_was_not_checked_is_not_taken_for_proof(version: ssl.TLSVersion, trusted: str) -> None:
    """A connection without checks leaves nothing that one with checks would resume, also the other way."""
    with Server(serving(version, "exchange.example")) as server:
        unchecked = settings_for(server, None, ssl_kwargs={"cert_reqs": ssl.CERT_NONE})
        assert [log_in(unchecked), log_in(unchecked)] == [False, True]
        for settings in (settings_for(server, trusted), settings_for(server, None)):
            with pytest.raises(TlsError):
                log_in(settings)


@VERSIONS
def test_a_context_that_was_made_stricter_starts_anew(version: ssl.TLSVersion, trusted: str) -> None:
    """A caller's context can be changed after connections were made with it; what they left is void."""
    with Server(serving(version, "exchange.example")) as server:
        ready = ssl.create_default_context(cafile=trusted)
        ready.check_hostname = False
        settings = settings_for(server, None, ssl_context=ready)
        ready.verify_mode = ssl.CERT_NONE
        assert [log_in(settings), log_in(settings)] == [False, True]
        ready.verify_mode = ssl.CERT_REQUIRED
        assert [log_in(settings), log_in(settings)] == [False, True]
        ready.check_hostname = True
        with pytest.raises(CertificateWrongName):
            log_in(settings)


@VERSIONS
def test_another_name_is_asked_for_proof(version: ssl.TLSVersion, trusted: str) -> None:
    """The same server under another name has to show a certificate for that name."""
    with Server(serving(version)) as server:
        assert [log_in(settings_for(server, trusted)) for _ in range(2)] == [False, True]
        with pytest.raises(CertificateWrongName):
            log_in(settings_for(server, trusted, host="localhost"))


@VERSIONS
def test_another_port_is_another_place(version: ssl.TLSVersion, trusted: str) -> None:
    """Even where both would understand the same tickets."""
    context = serving(version)
    with Server(context) as first, Server(context) as second:
        assert [log_in(settings_for(first, trusted)) for _ in range(2)] == [False, True]
        assert [log_in(settings_for(second, trusted)) for _ in range(2)] == [False, True]


@VERSIONS
def test_another_client_certificate_is_another_one(
    version: ssl.TLSVersion, trusted: str, tmp_path: pathlib.Path
) -> None:
    """An account is never taken for the one that connected before it with a certificate of its own."""
    context = serving(version)
    context.verify_mode = ssl.CERT_REQUIRED
    AUTHORITY.configure_trust(context)
    with Server(context) as server:
        for name in ("ann", "bob"):
            path = tmp_path / f"{name}.pem"
            AUTHORITY.issue_cert(f"{name}@example.com").private_key_and_cert_chain_pem.write_to_path(
                str(path)
            )
            settings = settings_for(server, trusted, cert_file=str(path))
            assert [log_in(settings), log_in(settings)] == [False, True]
        eventually(lambda: len(server.shown) == 4)
        assert server.shown == [
            (("email", "ann@example.com"),),
            (("email", "ann@example.com"),),
            (("email", "bob@example.com"),),
            (("email", "bob@example.com"),),
        ]


@VERSIONS
def test_a_replaced_ca_file_starts_anew(version: ssl.TLSVersion, trusted: str) -> None:
    """New trust has to be satisfied anew: by a full handshake, or not at all."""
    with Server(serving(version)) as server:
        settings = settings_for(server, trusted)
        assert [log_in(settings), log_in(settings)] == [False, True]
        path = pathlib.Path(trusted)
        path.write_bytes(AUTHORITY.cert_pem.bytes() + STRANGER.cert_pem.bytes())
        assert [log_in(settings), log_in(settings)] == [False, True]
        path.write_bytes(STRANGER.cert_pem.bytes())
        with pytest.raises(CertificateUntrusted):
            log_in(settings)


def test_a_file_replaced_by_one_of_the_same_size_and_time_is_seen(trusted: str) -> None:
    """A copy can keep the time of modification; the change is noticed all the same."""
    path = pathlib.Path(trusted)
    settings = SessionSettings("u", "p", ca_file=trusted)
    before, status = context_for(settings), path.stat()
    path.write_bytes(path.read_bytes())
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_mtime_ns == status.st_mtime_ns
    assert context_for(settings) is not before
    assert context_for(settings) is context_for(settings)


# --- an exchange that changes -----------------------------------------------------------------------


@VERSIONS
def test_an_exchange_that_forgot_its_tickets_is_logged_in_to(version: ssl.TLSVersion, trusted: str) -> None:
    """A restart has it make new keys: the handshake is a full one, and the next is resumed again."""
    with Server(serving(version)) as server:
        settings = settings_for(server, trusted)
        assert [log_in(settings), log_in(settings)] == [False, True]
        server.restart(serving(version))
        assert [log_in(settings), log_in(settings)] == [False, True]


@VERSIONS
def test_an_exchange_that_restarts_as_another_is_refused(version: ssl.TLSVersion, trusted: str) -> None:
    """A full handshake looks at the certificate, whatever was offered."""
    with Server(serving(version)) as server:
        settings = settings_for(server, trusted)
        assert [log_in(settings), log_in(settings)] == [False, True]
        server.restart(serving(version, "exchange.example"))
        for _ in range(2):
            with pytest.raises(CertificateWrongName):
                log_in(settings)


@VERSIONS
def test_a_ticket_outlives_the_certificate_that_it_was_given_under(
    version: ssl.TLSVersion, trusted: str
) -> None:
    """Who can read its own ticket has proven already who it is: no certificate is looked at.

    So a server that goes on running with a new certificate, here for another name, is still the one that
    was asked for. Whoever has no ticket of it sees the new certificate and refuses.
    """
    context = serving(version)
    with Server(context) as server:
        settings = settings_for(server, trusted)
        assert not log_in(settings)
        AUTHORITY.issue_cert("exchange.example").configure_cert(context)
        assert log_in(settings)
        tls._contexts.clear()
        with pytest.raises(CertificateWrongName):
            log_in(settings)


@VERSIONS
def test_a_change_of_version_is_survived(version: ssl.TLSVersion, trusted: str) -> None:
    """A ticket of one version is no obstacle to the other."""
    other = V1_3 if version is V1_2 else V1_2
    with Server(serving(version)) as server:
        settings = settings_for(server, trusted)
        assert [log_in(settings), log_in(settings)] == [False, True]
        server.restart(serving(other))
        assert [log_in(settings), log_in(settings)] == [False, True]


# --- what failed ------------------------------------------------------------------------------------


def _kept(settings: SessionSettings) -> object:
    return known_session(context_for(settings), settings)


@VERSIONS
@pytest.mark.parametrize("known", [False, True], ids=["first", "later"])
def test_an_interrupted_handshake_leaves_nothing(known: bool, version: ssl.TLSVersion, trusted: str) -> None:
    """A limit in the middle: what was offered, if anything, is not offered again."""
    with Server(serving(version)) as server:
        settings = settings_for(server, trusted)
        if known:
            log_in(settings)
            assert _kept(settings) is not None
        server.restart(None)
        session = Session(settings)
        with pytest.raises(gevent.Timeout), gevent.Timeout(0.05):
            session.log_in()
        assert session.raw_socket is None
        assert _kept(settings) is None
        server.restart(serving(version))
        assert [log_in(settings), log_in(settings)] == [False, True]


def _silence(line: Line) -> None:
    mute(line)


def _garbage(line: Line) -> None:
    line.socket.recv(65536)
    line.send(b"HTTP/1.0 400 Bad Request\r\n\r\n")


def _alert(line: Line) -> None:
    line.socket.recv(65536)
    line.send(bytes([21, 3, 3, 0, 2, 2, 80]))


def _close(line: Line) -> None:
    line.socket.recv(65536)


@VERSIONS
@pytest.mark.parametrize("stumble", [_silence, _garbage, _alert, _close])
def test_a_peer_that_stumbles_over_a_ticket_gets_none_the_next_time(
    stumble: Any, version: ssl.TLSVersion, trusted: str
) -> None:
    """A middlebox that cannot cope would otherwise be met with the same ticket for ever."""
    context = serving(version)
    with Server(context) as server:
        settings = settings_for(server, trusted, socket_timeout=0.2)
        log_in(settings)
        assert _kept(settings) is not None
        server.restart(None)
        server.scripts = (stumble,)
        with pytest.raises(ConnectionError):
            log_in(settings)
        assert _kept(settings) is None
        server.restart(context)
        assert not log_in(settings)


@pytest.mark.parametrize("known", [False, True], ids=["first", "later"])
def test_another_accounts_newer_session_is_not_forgotten(known: bool, trusted: str) -> None:
    """Only what was offered in vain is dropped."""
    with Server(serving(V1_3)) as server:
        settings = settings_for(server, trusted)
        if known:
            log_in(settings)
        server.restart(None)
        stuck = gevent.spawn(Session(settings).log_in)
        eventually(lambda: server.accepted == 1 + known)
        server.restart(serving(V1_3))
        assert not log_in(settings)
        stuck.kill()
        assert log_in(settings)


def test_a_missing_certificate_is_found_behind_a_resumed_session(trusted: str) -> None:
    """TLS 1.2 says too little when a session was offered; the next attempt, without one, is clear."""
    with Server(serving(V1_2)) as server:
        settings = settings_for(server, trusted)
        assert [log_in(settings), log_in(settings)] == [False, True]
        context = serving(V1_2)
        context.verify_mode = ssl.CERT_REQUIRED
        AUTHORITY.configure_trust(context)
        server.restart(context)
        with pytest.raises(ConnectionError) as caught:
            log_in(settings)
        assert not isinstance(caught.value, TlsError)
        with pytest.raises(ClientCertificateRefused, match="give cert_file"):
            log_in(settings)


@VERSIONS
def test_a_refused_certificate_of_ours_leaves_nothing(version: ssl.TLSVersion, trusted: str) -> None:
    """There is no session to resume with an exchange that did not accept us."""
    context = serving(version)
    context.verify_mode = ssl.CERT_REQUIRED
    AUTHORITY.configure_trust(context)
    with Server(context) as server:
        settings = settings_for(server, trusted)
        for _ in range(2):
            with pytest.raises(ClientCertificateRefused):
                log_in(settings)
            assert _kept(settings) is None


# --- what is kept -----------------------------------------------------------------------------------


def kept_by(context: ssl.SSLContext) -> int:
    """How many TLS sessions a context carries."""
    return len(vars(context).get(tls._SESSIONS, {}))


@VERSIONS
def test_many_connections_leave_one_session_per_place(version: ssl.TLSVersion, trusted: str) -> None:
    """However often and by whomever, the latest alone is kept, and one context is made."""
    with Server(serving(version)) as first, Server(serving(version)) as second:
        for number in range(10):
            for server in (first, second):
                log_in(settings_for(server, trusted, username=f"u{number}"))
        assert kept_by(context_for(settings_for(first, trusted))) == 2
        assert len(tls._contexts) == 1


@VERSIONS
@pytest.mark.parametrize("forgetful", [False, True], ids=["resumes", "never resumes"])
def test_one_session_serves_many_connections(
    forgetful: bool, version: ssl.TLSVersion, trusted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Taking one loses memory on many a Python: once a while is enough, whatever the exchange does."""
    if forgetful:
        monkeypatch.setattr(tls, "_TAKE_EVERY", 1_000_000.0)
    taken = []
    theirs = ssl.SSLSocket.session

    def counting(connection: ssl.SSLSocket) -> Any:
        taken.append(connection)
        return theirs.fget(connection)  # type: ignore[attr-defined]

    monkeypatch.setattr(ssl.SSLSocket, "session", property(counting))
    with Server(serving(version)) as server:
        settings = settings_for(server, trusted)
        resumed = []
        for _ in range(6):
            resumed.append(log_in(settings))
            if forgetful:
                server.restart(serving(version))
        assert resumed == [False, *[not forgetful] * 5]
    assert len(taken) == 1


@VERSIONS
def test_a_context_that_nobody_has_any_more_goes(version: ssl.TLSVersion, trusted: str) -> None:
    """A session refers to its context: both go together when the caller lets go of the context."""
    with Server(serving(version)) as server:
        ready = ssl.create_default_context(cafile=trusted)
        log_in(settings_for(server, None, ssl_context=ready))
        assert kept_by(ready) == 1
        gone = weakref.ref(ready)
        del ready
        eventually(lambda: gc.collect() >= 0 and gone() is None)


@VERSIONS
def test_files_that_are_renewed_daily_leave_one_context(version: ssl.TLSVersion, trusted: str) -> None:
    """The context of the files as they were, and what was resumed with it, is forgotten."""
    path = pathlib.Path(trusted)
    gone = []
    with Server(serving(version)) as server:
        settings = settings_for(server, trusted)
        for day in range(1, 6):
            path.write_bytes(AUTHORITY.cert_pem.bytes() + b"\n" * day)
            assert [log_in(settings), log_in(settings)] == [False, True]
            gone.append(weakref.ref(context_for(settings)))
        assert len(tls._contexts) == 1
        eventually(lambda: gc.collect() >= 0 and [ref() for ref in gone[:-1]] == [None] * 4)
        assert gone[-1]() is context_for(settings)
