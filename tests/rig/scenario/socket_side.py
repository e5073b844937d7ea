"""The exchange under test behind sockets, with TLS or without: certificates, restarts, full buffers.

The connections are socket pairs, as those of ``smarkets_pool.testing``, whose clock is used here: what was
sent is at the other end at once, and when the loop has nothing more to do everything has been said.
"""

from __future__ import annotations

import contextlib
import ssl
from typing import Any

from smarkets_pool.exceptions import ConnectionError
from smarkets_pool.exchange import EmbeddedExchange, Exchange
from smarkets_pool.session.addresses import look_up
from smarkets_pool.testing import FakeClock
from tests.rig.scenario.framing import FrameCutter
from tests.rig.scenario.language import Connect, Head, Manner
from tests.rig.scenario.messages import Scope
from tests.rig.scenario.ordering import OrderedExchange, exchange_settings
from tests.rig.scenario.sides import Heard, Unsaid
from tests.rig.scenario.values import Mistake, Word

__all__ = ["SocketSide"]

_TIMEOUT = 10.0
#: OpenSSL's codes of what is wrong with a certificate, in the words of a script.
_CERTIFICATE_TROUBLE = {
    9: "not_yet_valid",
    10: "expired",
    18: "untrusted",
    19: "untrusted",
    20: "untrusted",
    21: "untrusted",
    62: "wrong_name",
    64: "wrong_name",
}


class _Client:
    """One connection as the script sees it."""

    def __init__(self, connection: Any) -> None:
        self.socket = connection
        self.cutter = FrameCutter()
        self.reads = True
        self.heard: list[Heard] = []
        self.held: bytes | None = None


class SocketSide(OrderedExchange):
    """An embedded exchange with the accounts of the script's head."""

    hears = ">"
    pings_after_login = False

    def __init__(self, head: Head) -> None:
        super().__init__()
        if head.markets != Head().markets:
            raise Mistake("over sockets there are markets 100000 to 100002, of two contracts each")
        self.clock = FakeClock()
        self._began = self.clock.now()
        self._tls = head.over == "tls"
        self.embedded = EmbeddedExchange(
            accounts=head.accounts,
            tls=self._tls,
            settings=exchange_settings(head.settings),
            clock=self.clock.now,
            wall_clock=self.clock.time_us,
        )
        self.embedded.start()
        self.clock.attach(self.embedded)
        self._clients: dict[str, _Client] = {}

    @property
    def exchange(self) -> Exchange:
        return self.embedded.exchange

    @property
    def moment(self) -> float:
        return self.clock.now()

    def settle(self) -> None:
        self.clock.settle()

    def now(self) -> float:
        return self.clock.now() - self._began

    def secrets(self) -> Scope:
        found: Scope = {}
        for login in self.embedded.logins:
            found[f"{login.username}.password"] = login.password
            found[f"{login.username}.token"] = login.token
        return found

    def begin_login(self, who: str) -> None:
        self.connect(who, None)

    def end_login(self, who: str) -> None:
        """Nothing is left to do."""

    # --- connections ------------------------------------------------------------------------------

    def connect(self, who: str, step: Connect | None) -> None:
        wanted = step.fields.get("fails") if step is not None else None
        trouble = self._try_to_connect(who)
        if (trouble or None) != (wanted.text if isinstance(wanted, Word) else None):
            raise Unsaid("the connection is not as written", trouble or "it is made")

    def _try_to_connect(self, who: str) -> str:
        """Connect; return what is wrong, if anything."""
        try:
            connection: Any = self.clock.reach(
                self.embedded.host, self.embedded.port, resolve=look_up, timeout=_TIMEOUT, nodelay=True
            )
        except (ConnectionError, OSError):
            return "refused"
        connection.settimeout(_TIMEOUT)
        if self._tls:
            context = ssl.create_default_context(cafile=self.embedded.ca_file)
            try:
                connection = context.wrap_socket(connection, server_hostname=self.embedded.host)
            except ssl.SSLCertVerificationError as error:
                connection.close()
                self.clock.settle()
                return _CERTIFICATE_TROUBLE.get(error.verify_code, str(error))
            except OSError:
                connection.close()
                self.clock.settle()
                return "reset"
        self._clients[who] = _Client(connection)
        self.clock.settle()
        return ""

    def say(self, who: str, data: bytes) -> None:
        client = self._clients[who]
        if client.held is not None:
            client.held += data
            return
        try:
            client.socket.settimeout(_TIMEOUT)
            client.socket.sendall(data)
        except OSError as error:
            raise Unsaid("the connection is closed already", str(error)) from error
        self._drain()

    def hang_up(self, who: str) -> None:
        self._clients[who].socket.close()
        self.clock.settle()

    def heard(self, who: str) -> list[Heard]:
        self._drain()
        client = self._clients.get(who)
        if client is None or not client.reads:
            return []
        found, client.heard = client.heard, []
        return found

    def _drain(self) -> None:
        """Have every client that reads take what there is for it."""
        self.clock.settle()
        for client in self._clients.values():
            if client.reads and client.socket.fileno() >= 0:
                client.heard += self._read(client)

    def _read(self, client: _Client) -> list[Heard]:
        found: list[Heard] = []
        client.socket.settimeout(0)
        with contextlib.suppress(BlockingIOError, ssl.SSLWantReadError):
            while data := self._received(client):
                found += [Heard(frame) for frame in client.cutter.feed(data)]
                self.clock.settle()
            if rest := client.cutter.rest():
                found.append(Heard.unfinished(rest))
            found.append(Heard(None))
            client.socket.close()
        return found

    def rest(self, who: str) -> bytes:
        return self._clients[who].cutter.rest()

    @staticmethod
    def _received(client: _Client) -> bytes:
        try:
            data: bytes = client.socket.recv(65_536)
        except (ConnectionResetError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
            return b""
        return data

    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    # --- the script's clients -----------------------------------------------------------------------

    def end(self) -> None:
        for client in self._clients.values():
            client.socket.close()
        self.clock.settle()
        self.embedded.stop()

    def change_manner(self, step: Manner) -> None:
        client = self._clients[step.who]
        if step.manner == "holds back":
            client.held = b""
        elif step.manner == "lets go":
            data, client.held = client.held or b"", None
            self.say(step.who, data)
        elif step.manner in ("stops reading", "reads again"):
            client.reads = step.manner == "reads again"
        else:
            raise Mistake("pieces are for scripts without sockets")
