"""What the vendor's SDK 9.4.4 gets wrong, as programs that tell right from wrong.

Every function here is run twice. ``make interop`` runs it with the SDK, in the SDK's own venv, where it
must fail exactly as it says; ``test_defects.py`` runs it with ``smarkets_pool``, where it must pass. So
each of them is known to be able to fail, and for the reason it is there for.

The numbers are those of the list of the SDK's behaviours from which this package was written; a number
with several claims has several functions. ``kept`` marks what is no defect: it passes with both.

A function takes an ``Api``, the names that a program imports, and uses nothing else of either package.
The other end is ``peer.py``.
"""

from __future__ import annotations

import builtins
import contextlib
import dataclasses
import importlib
import logging
import os
import pathlib
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

from tests.vendor import peer as wire
from tests.vendor.peer import LIMIT, Canned, Peer, TlsPeer

USERNAME = "u@example.com"
PASSWORD = "a-password-nobody-may-see"


# --- who is under test ----------------------------------------------------------------------------


class Api:
    """The names a program imports from one of the two packages.

    ``certificates`` is a folder made by ``certificates.py``.
    """

    def __init__(self, package: str, certificates: pathlib.Path) -> None:
        self.front_door = f"{package}.api"
        self.certificates = certificates
        self.StreamingAPIClient = importlib.import_module(f"{package}.client").StreamingAPIClient
        session = importlib.import_module(f"{package}.session")
        self.Session, self.SessionSettings, self.Frame = (
            session.Session,
            session.SessionSettings,
            session.Frame,
        )
        self.exceptions = importlib.import_module(f"{package}.exceptions")
        # The root of either tree of errors; this one hangs on it directly in both.
        self.Error = self.exceptions.DownloadError.__base__
        self.eto = importlib.import_module(f"{package}.eto")
        self.seto = importlib.import_module(f"{package}.seto")


@dataclasses.dataclass(frozen=True)
class Row:
    """One claim. ``fails`` is how the SDK fails it, None if it passes; ``newer`` is which of its venvs."""

    number: int
    check: Callable[[Api], None]
    fails: str | None
    newer: bool

    @property
    def name(self) -> str:
        """The function's name."""
        return self.check.__name__

    @property
    def what(self) -> str:
        """The right behaviour in a sentence."""
        return (self.check.__doc__ or "").splitlines()[0].rstrip(".")


class NotHereError(Exception):
    """This machine lacks what the row needs."""


ROWS: list[Row] = []

_Check = Callable[[Api], None]


def defect(number: int, *, fails: str, newer: bool = False) -> Callable[[_Check], _Check]:
    """Register a row. ``fails`` is found in the SDK's error, written ``module.Class: text``.

    ``newer`` rows show their defect with a newer Python and protobuf than the SDK works with.
    """

    def register(check: _Check) -> _Check:
        ROWS.append(Row(number, check, fails, newer))
        return check

    return register


def kept(number: int) -> Callable[[_Check], _Check]:
    """Register a behaviour that both have."""

    def register(check: _Check) -> _Check:
        ROWS.append(Row(number, check, None, newer=False))
        return check

    return register


# --- steps that many rows share -------------------------------------------------------------------


class Conversation:
    """A client, its other end, and what a global handler heard as ``(name, number)``."""

    def __init__(self, api: Api, peer: Peer, client: Any) -> None:
        self.api = api
        self.peer = peer
        self.client = client
        self.heard: list[tuple[str, int]] = []
        client.add_global_handler(self._note)

    def _note(self, name: str, message: Any) -> None:
        self.heard.append((name, message.protobuf.eto_payload.seq))

    def pongs(self) -> list[int]:
        """The numbers of the pongs that were heard."""
        return [number for name, number in self.heard if name == "eto.pong"]

    def log_in(self, *frames: bytes) -> Any:
        """Connect, answer the login with ``frames``, take the answer; return the login."""
        self.client.login(receive=False)
        self.peer.accept()
        login = self.peer.take()
        self.peer.send(*frames or (wire.login_response(),))
        self.client.read()
        return login

    def sent_before_ping(self) -> list[Any]:
        """Flush, and return what the client has sent so far; a ping of ours marks the end."""
        self.client.flush()
        self.client.ping()
        while self.client.output_buffer_size:
            self.client.flush()
        return self.peer.take_until(
            lambda payload: _kind(payload) == wire.PING and not payload.eto_payload.is_replay
        )


def _kind(payload: Any) -> int:
    return (
        int(payload.eto_payload.type) if payload is not None and payload.eto_payload.HasField("type") else 0
    )


@contextlib.contextmanager
def unconnected(
    api: Api, *, host: str = "127.0.0.1", session: Any = (), **changes: Any
) -> Iterator[Conversation]:
    """A client that has yet to connect; ``changes`` are settings, ``session`` arguments of the session."""
    with contextlib.closing(Peer(api.seto, host)) as peer:
        client = client_for(api, peer.port, host=host, session=session, **changes)
        try:
            yield Conversation(api, peer, client)
        finally:
            disconnect(client)


@contextlib.contextmanager
def logged_in(api: Api, **changes: Any) -> Iterator[Conversation]:
    """A client that is logged in and has taken everything that came."""
    with unconnected(api, **changes) as talk:
        talk.log_in()
        talk.client.check_login()
        talk.heard.clear()
        yield talk


def client_for(api: Api, port: int, *, session: Any = (), **changes: Any) -> Any:
    """A client of a session at that port, in the clear unless ``changes`` say otherwise."""
    settings = {
        "username": USERNAME,
        "password": PASSWORD,
        "host": "127.0.0.1",
        "port": port,
        "ssl": False,
        "socket_timeout": LIMIT,
        **changes,
    }
    return api.StreamingAPIClient(api.Session(api.SessionSettings(**settings), **dict(session)))


def disconnect(client: Any) -> None:
    """Close whatever is open, also what the SDK has forgotten to close."""
    raw = client.raw_socket
    client.session.disconnect()
    if raw is not None:
        raw.close()


def canned(api: Api, *reads: bytes, takes: int = 1 << 30) -> tuple[Any, Canned]:
    """A client that is logged in over a connection without a network, and that connection."""
    client = client_for(api, 1)
    connection = client.session.socket = Canned(wire.login_response(), *reads)
    client.login()
    client.flush()
    connection.takes, connection.sent = takes, b""
    return client, connection


def must_raise(kind: type[BaseException], call: Callable[..., Any], *arguments: Any, **named: Any) -> None:
    """Call it; an error of another kind goes on its way, none at all is an ``AssertionError``."""
    try:
        call(*arguments, **named)
    except kind:
        return
    raise AssertionError(f"it was not refused with {kind.__name__}")


# --- TLS, Python and protobuf ---------------------------------------------------------------------


def _over_tls(api: Api, peer: TlsPeer, **changes: Any) -> Any:
    return client_for(api, peer.port, **{"ssl": True, "host": "localhost", **changes})


def _trusting(api: Api) -> dict[str, Any]:
    return {"cert_reqs": ssl.CERT_REQUIRED, "ca_certs": str(api.certificates / "ca.pem")}


@defect(1, fails=r"builtins.AssertionError: the password went to a stranger")
def row_01_unknown_authority(api: Api) -> None:
    """A certificate of an unknown authority is refused, and no password leaves."""
    with contextlib.closing(TlsPeer(str(api.certificates / "stranger.pem"))) as peer:
        client = _over_tls(api, peer)
        try:
            with contextlib.suppress(api.exceptions.ConnectionError):
                client.login(receive=False)
            connected = client.session.connected
        finally:
            disconnect(client)
        assert PASSWORD.encode() not in peer.first_bytes(), "the password went to a stranger"
        assert not connected, "a stranger counts as the exchange"


@defect(1, fails=r"builtins.AssertionError: the password went to another host")
def row_01_other_host(api: Api) -> None:
    """A good certificate of another host is refused, and no password leaves."""
    with contextlib.closing(TlsPeer(str(api.certificates / "elsewhere.pem"))) as peer:
        client = _over_tls(api, peer, ssl_kwargs=_trusting(api))
        try:
            with contextlib.suppress(api.exceptions.ConnectionError):
                client.login(receive=False)
            connected = client.session.connected
        finally:
            disconnect(client)
        assert PASSWORD.encode() not in peer.first_bytes(), "the password went to another host"
        assert not connected, "another host counts as the exchange"


def _log_in_over_tls(api: Api) -> TlsPeer:
    """The other end after a client that trusts its authority has logged in there."""
    with contextlib.closing(TlsPeer(str(api.certificates / "localhost.pem"))) as peer:
        client = _over_tls(api, peer, ssl_kwargs=_trusting(api))
        try:
            client.login(receive=False)
        finally:
            disconnect(client)
        assert PASSWORD.encode() in peer.first_bytes(), "the login did not arrive"
        return peer


@defect(1, fails=r"builtins.AssertionError: the name that travelled is None")
def row_01_server_name(api: Api) -> None:
    """The host's name travels in the handshake (SNI)."""
    asked_for = _log_in_over_tls(api).server_name
    assert asked_for == "localhost", f"the name that travelled is {asked_for}"


@defect(2, fails=r"builtins.AttributeError: module 'ssl' has no attribute 'wrap_socket'", newer=True)
def row_02_tls(api: Api) -> None:
    """TLS works with the Python that runs this, 3.12 and later too."""
    _log_in_over_tls(api)


@defect(3, fails=r"builtins.AssertionError: Error: Descriptors cannot be created directly", newer=True)
def row_03_protobuf(api: Api) -> None:
    """The package can be imported with protobuf 4 and later as it comes."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("PROTOCOL_BUFFERS_")
    }
    code = f"import {api.front_door}, google.protobuf as p; print(p.__version__)"
    path = os.pathsep.join(entry for entry in sys.path if entry)
    said = subprocess.run(
        [sys.executable, "-c", code],
        env={**environment, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert said.returncode == 0, said.stderr[said.stderr.rfind("Error: ") :]
    assert int(said.stdout.split(".")[0]) >= 4, f"this is protobuf {said.stdout}"


# --- connections ----------------------------------------------------------------------------------


@defect(4, fails=r"streaming_api.exceptions.ConnectionError: .*family")
def row_04_ipv6(api: Api) -> None:
    """An IPv6 address can be connected to."""
    try:
        Peer(api.seto, "::1").close()
    except OSError as error:
        raise NotHereError(f"no IPv6 loopback: {error}") from error
    with logged_in(api, host="::1") as talk:
        assert talk.client.session.connected


@defect(10, fails=r"builtins.AssertionError: it says that it is connected")
def row_10_silence(api: Api) -> None:
    """A read that gives up waiting leaves no connection that looks alive."""
    with logged_in(api, socket_timeout=0.2) as talk:
        must_raise(api.exceptions.ConnectionError, talk.client.read)
        assert not talk.client.session.connected, "it says that it is connected"


@defect(11, fails=r"builtins.AssertionError: no connection was made")
def row_11_again(api: Api) -> None:
    """After the exchange has closed, a login makes a new connection and logs in on it."""
    with logged_in(api) as talk:
        talk.peer.close_connection()
        must_raise(api.exceptions.SocketDisconnected, talk.client.read)
        talk.client.login(receive=False)
        talk.peer.accept(patience=0.5)
        assert talk.peer.take().login.username == USERNAME, "it is not the login"


@defect(16, fails=r"google.protobuf.message.DecodeError")
def row_16_bytes(api: Api) -> None:
    """Half a frame of one connection is not put before the bytes of the next."""
    with logged_in(api) as talk:
        talk.peer.send(wire.throttle_limits(2)[:3])
        talk.client.read()
        talk.client.session.disconnect()
        talk.log_in(wire.login_response(session=b"second"))
        assert talk.client.session.session == "second", "the second login has no answer"


@defect(16, fails=r"builtins.AssertionError: the second login has no answer")
def row_16_frames(api: Api) -> None:
    """Frames of one connection that nobody took are not dispatched on the next."""
    with logged_in(api) as talk:
        talk.peer.send(wire.pong(2), wire.pong(3))
        talk.client.read(limit=1)
        talk.client.session.disconnect()
        talk.log_in(wire.login_response(session=b"second"))
        assert talk.client.session.session == "second", "the second login has no answer"
        assert talk.pongs() == [2], "a frame of the first connection came with the second"


@defect(28, fails=r"builtins.AssertionError: the descriptor is open")
def row_28_descriptor(api: Api) -> None:
    """A connection that the other end has reset is closed all the same."""
    with logged_in(api) as talk:
        raw = talk.client.raw_socket
        talk.peer.reset()
        must_raise(api.exceptions.ConnectionError, talk.client.read)
        talk.client.session.disconnect()
        try:
            assert raw.fileno() == -1, "the descriptor is open"
        finally:
            raw.close()


# --- numbers, gaps and replays --------------------------------------------------------------------


@defect(5, fails=r"builtins.AssertionError: \[\] were asked for again")
def row_05_gap(api: Api) -> None:
    """A missing frame is asked for, and what comes again is dispatched in order."""
    with logged_in(api) as talk:
        talk.peer.send(wire.pong(3))
        talk.client.read()
        sent = talk.sent_before_ping()
        asked = [payload.eto_payload.replay.seq for payload in sent if _kind(payload) == wire.REPLAY]
        assert asked == [2], f"{asked} were asked for again"
        talk.peer.send(wire.pong(2, is_replay=True), wire.pong(3, is_replay=True))
        talk.client.read()
        assert talk.pongs() == [2, 3], f"{talk.pongs()} were dispatched"


@defect(6, fails=r"builtins.AssertionError: \[2\] were dispatched")
def row_06_duplicate(api: Api) -> None:
    """A good frame behind a duplicate is dispatched by the read that brought it."""
    with logged_in(api) as talk:
        talk.peer.send(wire.pong(2), wire.pong(2), wire.pong(3))
        talk.client.read()
        assert talk.pongs() == [2, 3], f"{talk.pongs()} were dispatched"


@defect(6, fails=r"builtins.AssertionError: \[2\] were dispatched")
def row_06_early(api: Api) -> None:
    """Good frames behind an early one are dispatched by the read that brought them."""
    with logged_in(api) as talk:
        talk.peer.send(wire.pong(2), wire.pong(4), wire.pong(3, is_replay=True), wire.pong(4, is_replay=True))
        talk.client.read()
        assert talk.pongs() == [2, 3, 4], f"{talk.pongs()} were dispatched"


@defect(7, fails=r"builtins.AssertionError: \[\] came again")
def row_07_replay(api: Api) -> None:
    """When the exchange asks for what it missed, it gets it, under the old numbers and marked."""
    with logged_in(api) as talk:
        talk.client.ping()
        talk.client.send(api.seto.MarketSubscribe(market_id=7))
        talk.client.flush()
        sent = [talk.peer.take(), talk.peer.take()]
        talk.peer.send(wire.replay_request(2, first=2))
        talk.client.read()
        again = talk.sent_before_ping()
        marked = [payload.eto_payload.seq for payload in again if payload.eto_payload.is_replay]
        assert marked == [2, 3], f"{marked} came again"
        assert again[1].market_subscribe == sent[1].market_subscribe, "something else came"


@defect(27, fails=r"builtins.AssertionError: after two messages the next number is 1")
def row_27_outseq(api: Api) -> None:
    """``outseq`` tells the number of the next message."""
    with logged_in(api) as talk:
        talk.client.ping()
        found = talk.client.session.outseq
        assert found == 3, f"after two messages the next number is {found}"


@defect(27, fails=r"builtins.AssertionError: the first number is 1")
def row_27_argument(api: Api) -> None:
    """The first number is the one that the session was made with."""
    with unconnected(api, session={"outseq": 5}) as talk:
        found = talk.log_in(wire.login_response(reset=6)).eto_payload.seq
        assert found == 5, f"the first number is {found}"


# --- heartbeats -----------------------------------------------------------------------------------


@defect(9, fails=r"builtins.AssertionError: \[\] answers")
def row_09_without_flush(api: Api) -> None:
    """A program that only reads answers heartbeats."""
    with logged_in(api) as talk:
        talk.peer.send(wire.heartbeat(2))
        talk.client.read()
        talk.client.session.disconnect()
        answers = [_kind(payload) for payload in talk.peer.take_all()]
        assert answers == [wire.HEARTBEAT], f"{answers} answers"


@defect(9, fails=r"builtins.AssertionError: 2 answers")
def row_09_duplicate(api: Api) -> None:
    """A heartbeat that comes twice is answered once."""
    with logged_in(api) as talk:
        talk.peer.send(wire.heartbeat(2), wire.heartbeat(2))
        while not talk.heard:
            talk.client.read()
        # A duplicate may end a read early; this one brings the rest.
        talk.peer.send(wire.pong(3))
        while not talk.pongs():
            talk.client.read()
        answers = [payload for payload in talk.sent_before_ping() if _kind(payload) == wire.HEARTBEAT]
        assert len(answers) == 1, f"{len(answers)} answers"


# --- login and logout -----------------------------------------------------------------------------


@defect(13, fails=r"streaming_api.exceptions.LoginTimeout")
def row_13_pieces(api: Api) -> None:
    """A login whose answer comes in pieces succeeds."""
    with unconnected(api) as talk:
        talk.client.session.settings.read_chunksize = 5
        talk.client.login(receive=False)
        talk.peer.accept()
        talk.peer.send(wire.login_response())
        talk.client.login()
        assert talk.client.session.session == "first", "it is not logged in"


@defect(14, fails=r"streaming_api.exceptions.LoginError")
def row_14_forgotten(api: Api) -> None:
    """After a clean logout, a login that has no answer yet is not a refused one."""
    with logged_in(api) as talk:
        talk.peer.send(wire.logout(2, wire.LOGOUT_CONFIRMATION))
        talk.client.logout()
        talk.client.login(receive=False)
        must_raise(api.exceptions.LoginTimeout, talk.client.check_login)


@defect(15, fails=r"builtins.AssertionError: the confirmation was not seen")
def row_15_confirmation(api: Api) -> None:
    """A logout waits for its confirmation, whatever else comes before it."""
    with logged_in(api) as talk:
        pong = wire.pong(2)
        talk.client.session.settings.read_chunksize = len(pong)
        talk.peer.send(pong, wire.logout(3, wire.LOGOUT_CONFIRMATION))
        talk.client.logout()
        assert ("eto.logout", 3) in talk.heard, "the confirmation was not seen"


@defect(17, fails=r"builtins.AssertionError: the handler saw \[\(False, 1\)\]")
def row_17_handler(api: Api) -> None:
    """Handlers of a logout see the session as it was: connected, and with its numbers."""
    with logged_in(api) as talk:
        session = talk.client.session
        seen = []
        talk.client.add_handler("eto.logout", lambda message: seen.append((session.connected, session.inseq)))
        talk.peer.send(wire.logout(2, wire.LOGOUT_DOWNTIME))
        talk.client.read()
        assert seen == [(True, 3)], f"the handler saw {seen}"
        assert not session.connected, "the session stays connected"


@defect(17, fails=r"builtins.AssertionError: \[\] were dispatched")
def row_17_behind(api: Api) -> None:
    """Frames that came behind a logout are dispatched, not taken for a gap."""
    with logged_in(api) as talk:
        talk.peer.send(wire.logout(2, wire.LOGOUT_DOWNTIME), wire.pong(3))
        talk.client.read()
        assert talk.pongs() == [3], f"{talk.pongs()} were dispatched"
        assert not talk.client.session.connected, "the session stays connected"


@defect(18, fails=r"builtins.AssertionError: the number behind the login is 0")
def row_18_reset(api: Api) -> None:
    """A login's answer that names no number to go on from leaves ours as they are."""
    with unconnected(api) as talk:
        talk.log_in(wire.login_response(reset=None))
        talk.client.ping()
        talk.client.flush()
        found = talk.peer.take().eto_payload.seq
        assert found == 2, f"the number behind the login is {found}"


@defect(18, fails=r"builtins.AssertionError: what was sent before the answer is lost")
def row_18_early_message(api: Api) -> None:
    """What is sent before the login is answered leaves after it."""
    with unconnected(api) as talk:
        talk.client.login(receive=False)
        talk.client.send(api.seto.MarketSubscribe(market_id=7))
        talk.peer.accept()
        talk.peer.take()
        talk.peer.send(wire.login_response())
        talk.client.read()
        sent = [payload.market_subscribe.market_id for payload in talk.sent_before_ping()]
        assert sent == [7], "what was sent before the answer is lost"


@defect(30, fails=r"builtins.TypeError")
def row_30_nobody(api: Api) -> None:
    """A login without any credentials is refused with an error of the package."""
    with unconnected(api, username=None, password=None) as talk:
        must_raise(api.Error, talk.client.login, receive=False)
        assert not talk.client.session.connected, "a connection is left open"


# --- handlers -------------------------------------------------------------------------------------


@defect(19, fails=r"builtins.AssertionError: only \[\] were called")
def row_19_others(api: Api) -> None:
    """A handler that raises costs the global handlers nothing; its error still leaves ``read``."""

    def raising(message: Any) -> None:
        raise LookupError

    with logged_in(api) as talk:
        talk.client.add_handler("eto.pong", raising)
        talk.peer.send(wire.pong(2), wire.pong(3))
        must_raise(LookupError, talk.client.read)
        assert talk.pongs() == [2], f"only {talk.pongs()} were called"
        must_raise(LookupError, talk.client.read)
        assert talk.pongs() == [2, 3], "the frame behind is lost"


class _Numbered:
    """A handler that notes its number and hashes to it, so that a set sorts such handlers."""

    def __init__(self, number: int, calls: list[int]) -> None:
        self._number = number
        self._calls = calls

    def __hash__(self) -> int:
        return self._number

    def __call__(self, message: Any) -> None:
        self._calls.append(self._number)


@defect(20, fails=r"builtins.AssertionError: they were called in the order \[1, 2, 3\]")
def row_20_order(api: Api) -> None:
    """Handlers are called in the order in which they were added."""
    with logged_in(api) as talk:
        calls: list[int] = []
        for number in (3, 1, 2):
            talk.client.add_handler("eto.pong", _Numbered(number, calls))
        talk.peer.send(wire.pong(2))
        talk.client.read()
        assert calls == [3, 1, 2], f"they were called in the order {calls}"


@defect(20, fails=r"builtins.KeyError")
def row_20_absent(api: Api) -> None:
    """Removing a handler that is not there is refused with an error of the package."""
    client = client_for(api, 1)
    must_raise(api.exceptions.InvalidCallbackError, client.del_handler, "eto.pong", print)


@kept(21)
def row_21_arguments(api: Api) -> None:
    """Named handlers get ``message=Payload``, global ones ``name=`` and ``message=Frame``."""
    with logged_in(api) as talk:
        calls: list[dict[str, Any]] = []
        talk.client.add_handler("seto.throttle_limits_changed", lambda **named: calls.append(named))
        talk.client.add_global_handler(lambda **named: calls.append(named))
        frame = wire.throttle_limits(2)
        talk.peer.send(frame)
        talk.client.read()
        assert [sorted(call) for call in calls] == [["message"], ["message", "name"]], f"called with {calls}"
        named, everything = calls
        assert isinstance(named["message"], api.seto.Payload), "a named handler got something else"
        assert named["message"].throttle_limits_changed.burst_size == 1000, "the message was lost"
        assert everything["name"] == "seto.throttle_limits_changed", "the name is another"
        assert isinstance(everything["message"], api.Frame), "a global handler got something else"
        assert bytes(everything["message"].bytes) == wire.cut(frame)[0], "the bytes are others"
        assert everything["message"].protobuf == named["message"], "the payload is another"


# --- sending --------------------------------------------------------------------------------------


@defect(12, fails=r"builtins.AssertionError: 80 bytes are left")
def row_12_flush(api: Api) -> None:
    """One ``flush`` writes everything, however little the socket takes at once."""
    client, connection = canned(api, takes=10)
    for _ in range(10):
        client.ping()
    total = client.output_buffer_size
    client.flush()
    left = client.output_buffer_size
    assert left == 0, f"{left} bytes are left"
    assert len(connection.sent) == total == 90, "something else was written"


@defect(31, fails=r"builtins.AttributeError")
def row_31_voided(api: Api) -> None:
    """The one message whose class is not called like its payload can be sent too."""
    with logged_in(api) as talk:
        talk.client.send(api.seto.OrderExecutedVoid(order_id=1, price=2500, quantity=3))
        (payload,) = talk.sent_before_ping()
        assert payload.type == api.seto.PAYLOAD_ORDER_EXECUTE_VOIDED, "it has another type"
        assert payload.order_execute_voided.order_id == 1, "it arrived without its content"


@defect(31, fails=r"builtins.AttributeError")
def row_31_no_payload(api: Api) -> None:
    """A message that no payload carries by itself is refused with an error of the package."""
    with logged_in(api) as talk:
        must_raise(api.Error, talk.client.send, api.seto.Quote(price=2500, quantity=1))


# --- errors and logs ------------------------------------------------------------------------------


@defect(25, fails=r"builtins.AssertionError: the password is in smarkets.session, smarkets.session.wire$")
def row_25_logs(api: Api) -> None:
    """With everything logged, a login leaves no password in the log."""
    lines: list[tuple[str, str]] = []
    handler = logging.Handler()
    # Put into words at once, as a log file does: what a record quotes may have changed a moment later.
    handler.emit = lambda record: lines.append((record.name, record.getMessage()))  # type: ignore[method-assign]
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        with logged_in(api) as talk:
            talk.client.ping()
            talk.client.flush()
            where = sorted({name for name, line in lines if PASSWORD in line})
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    assert lines, "nothing was logged"
    assert not where, f"the password is in {', '.join(where)}"


@defect(26, fails=r"builtins.AssertionError: it is not the builtin's")
def row_26_builtin(api: Api) -> None:
    """``except ConnectionError`` without an import catches errors of the connection."""
    with contextlib.closing(socket.socket()) as nobody:
        nobody.bind(("127.0.0.1", 0))
        client = client_for(api, nobody.getsockname()[1])
        try:
            client.login(receive=False)
        except api.exceptions.ConnectionError as error:
            assert isinstance(error, builtins.ConnectionError), "it is not the builtin's"
        else:
            raise AssertionError("a port where nobody listens was connected to")


@defect(26, fails=r"streaming_api.exceptions.SocketDisconnected")
def row_26_closed(api: Api) -> None:
    """A connection that the exchange closed is an error of the connection like any other."""
    with logged_in(api) as talk:
        talk.peer.close_connection()
        must_raise(api.exceptions.ConnectionError, talk.client.read)


@defect(26, fails=r"google.protobuf.message.DecodeError")
def row_26_parse(api: Api) -> None:
    """A frame that holds no payload is a ``ParseError`` of the package."""
    with logged_in(api) as talk:
        talk.peer.send(wire.framed(b"\x08\x01\x12\x7f"))
        must_raise(api.exceptions.ParseError, talk.client.read)


@defect(26, fails=r"google.protobuf.message.EncodeError")
def row_26_encode(api: Api) -> None:
    """A message without its required fields is refused with an error of the package."""
    with logged_in(api) as talk:
        must_raise(api.Error, talk.client.send, api.seto.OrderCancel())


@defect(23, fails=r"builtins.AssertionError: it was not refused with DecodeError")
def row_23_length(api: Api) -> None:
    """A frame that says it is a gigabyte long is refused when its header is read."""
    with logged_in(api) as talk:
        talk.peer.send(wire.uleb128(1 << 30) + bytes(100))
        must_raise(api.exceptions.DecodeError, talk.client.read)


@defect(23, fails=r"builtins.AssertionError: it was not refused with DecodeError")
def row_23_header(api: Api) -> None:
    """A length that goes on and on is refused."""
    with logged_in(api) as talk:
        talk.peer.send(b"\x80" * 100)
        must_raise(api.exceptions.DecodeError, talk.client.read)


# --- work -----------------------------------------------------------------------------------------


class Tally:
    """Counts the bytes and entries that are copied into and out of a session's own buffers.

    ``watch`` puts counting ones into the place of every ``bytearray`` and ``list`` that the session and
    the parts it is made of hold. What is cut out of a counting buffer counts in its turn.
    """

    def __init__(self) -> None:
        self.copied = 0
        self._kinds = {bytearray: _counting(bytearray, self), list: _counting(list, self)}

    def watch(self, session: Any) -> None:
        """Count from now on."""
        package = type(session).__module__.split(".")[0]
        found, left = {id(session)}, [session]
        while left:
            holder = left.pop()
            names = [name for kind in type(holder).__mro__ for name in getattr(kind, "__slots__", ())]
            for name in {*names, *getattr(holder, "__dict__", ())}:
                value = getattr(holder, name, None)
                if type(value) in self._kinds:
                    setattr(holder, name, self._kinds[type(value)](value))
                elif type(value).__module__.split(".")[0] == package and id(value) not in found:
                    found.add(id(value))
                    left.append(value)


def _counting(base: Any, tally: Tally) -> Any:
    """A kind of ``base`` that reports how much it copies."""

    class Counting(base):  # type: ignore[misc]
        def __getitem__(self, key: Any) -> Any:
            value = super().__getitem__(key)
            if not isinstance(key, slice):
                return value
            tally.copied += len(value)
            return Counting(value)

        def __setitem__(self, key: Any, value: Any) -> None:
            tally.copied += len(value) if isinstance(key, slice) else 1
            super().__setitem__(key, value)

        def __delitem__(self, key: Any) -> None:
            # What is behind a hole moves; only a bytearray gives up its front as it is.
            start, stop, _ = key.indices(len(self)) if isinstance(key, slice) else (key, key + 1, 1)
            if start or base is list:
                tally.copied += len(self) - stop
            super().__delitem__(key)

        def __iadd__(self, other: Any) -> Any:
            tally.copied += len(other)
            return super().__iadd__(other)

        def extend(self, other: Any) -> None:
            tally.copied += len(other)
            super().extend(other)

    return Counting


#: How often, and how many times as often.
_FEW, _TIMES = 500, 8


def _must_be_linear(cost: Callable[[int], tuple[int, int]]) -> None:
    """``cost(count)`` tells bytes moved and units copied; eight times the count may cost sixteen times."""
    moved, few = cost(_FEW)
    _, many = cost(_FEW * _TIMES)
    assert few >= moved, f"{few} copied for {moved} bytes: the count is blind"
    assert many <= 2 * _TIMES * few, f"{_TIMES} times as many cost {many / few:.0f} times as much"


@defect(22, fails=r"builtins.AssertionError: 8 times as many cost [4-9]\d times as much")
def row_22_reading(api: Api) -> None:
    """Taking buffered frames costs in proportion to their number."""

    def cost(count: int) -> tuple[int, int]:
        stream = b"".join(wire.pong(seq) for seq in range(2, count + 2))
        client, _ = canned(api, stream)
        tally = Tally()
        tally.watch(client.session)
        assert client.read() == count, "frames are missing"
        return len(stream), tally.copied

    _must_be_linear(cost)


@defect(22, fails=r"builtins.AssertionError: 8 times as many cost [4-9]\d times as much")
def row_22_flushing(api: Api) -> None:
    """Writing to a socket that takes few bytes at once costs in proportion to the bytes."""

    def cost(count: int) -> tuple[int, int]:
        client, connection = canned(api, takes=64)
        tally = Tally()
        tally.watch(client.session)
        for _ in range(count):
            client.ping()
        while client.output_buffer_size:
            client.flush()
        return len(connection.sent), tally.copied

    _must_be_linear(cost)
