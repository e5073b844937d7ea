"""The exchange under test, without sockets: the script is all its clients, on a clock moved by hand."""

from __future__ import annotations

from smarkets_pool.exchange import Exchange
from smarkets_pool.exchange.accounts import Accounts
from smarkets_pool.exchange.market import Market
from smarkets_pool.exchange.peer import Peer
from tests.rig.scenario.framing import FrameCutter
from tests.rig.scenario.language import Connect, Head, Manner
from tests.rig.scenario.messages import Scope
from tests.rig.scenario.ordering import OrderedExchange, exchange_settings
from tests.rig.scenario.sides import Heard, Unsaid

__all__ = ["ExchangeSide"]

START = 1000.0


class _Client:
    """One connection as the script sees it."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.cutter = FrameCutter()
        self.heard: list[Heard] = []
        self.over = False
        self.held: bytes | None = None
        self.pieces = 0


class ExchangeSide(OrderedExchange):
    """An exchange with the accounts and markets of the script's head."""

    hears = ">"
    pings_after_login = False

    def __init__(self, head: Head) -> None:
        super().__init__()
        self._now = START
        settings = exchange_settings(head.settings)
        registry = Accounts(settings)
        for name in head.accounts:
            registry.add(name, "pw-" + name, "token-" + name)
        self._exchange = Exchange(
            accounts=registry,
            markets=[Market(market_id, contract_ids) for market_id, contract_ids in head.markets.items()],
            wall_clock=lambda: round(self._now * 1_000_000),
            clock=lambda: self._now,
            settings=settings,
        )
        self._clients: dict[str, _Client] = {}

    @property
    def exchange(self) -> Exchange:
        return self._exchange

    @property
    def moment(self) -> float:
        return self._now

    def settle(self) -> None:
        self._pump()

    def now(self) -> float:
        return self._now - START

    def secrets(self) -> Scope:
        return {}

    def begin_login(self, who: str) -> None:
        self.connect(who, None)

    def end_login(self, who: str) -> None:
        """Nothing is left to do."""

    # --- connections ------------------------------------------------------------------------------

    def connect(self, who: str, step: Connect | None) -> None:
        self._clients[who] = _Client(self.exchange.connect(self._now, lambda peer: None))
        self._pump()

    def say(self, who: str, data: bytes) -> None:
        client = self._clients[who]
        if client.over:
            raise Unsaid("the connection is closed already", "nothing can be said")
        if client.held is not None:
            client.held += data
            return
        size = client.pieces or len(data)
        for begin in range(0, len(data), size):
            client.peer.receive(data[begin : begin + size], self._now)
            self._pump()

    def hang_up(self, who: str) -> None:
        client = self._clients[who]
        client.over = True
        client.peer.lost(self._now)
        self._pump()

    def heard(self, who: str) -> list[Heard]:
        client = self._clients[who]
        found, client.heard = client.heard, []
        return found

    def rest(self, who: str) -> bytes:
        return self._clients[who].cutter.rest()

    def _pump(self) -> None:
        for client in self._clients.values():
            data = client.peer.data_to_send()
            if client.over:
                continue
            client.heard += [Heard(frame) for frame in client.cutter.feed(data)]
            if client.peer.finished:
                client.over = True
                if rest := client.cutter.rest():
                    client.heard.append(Heard.unfinished(rest))
                client.heard.append(Heard(None))
                client.peer.lost(self._now)

    # --- time ---------------------------------------------------------------------------------------

    def wait(self, seconds: float) -> None:
        """Stops at every deadline on the way, as a server that looks at its clock does."""
        end = self._now + seconds
        for _ in range(100_000):
            due = self.exchange.next_deadline()
            if due is None or due >= end:
                break
            self._now = max(self._now, due)
            self._tick()
        else:
            raise Unsaid("a deadline stays due for ever", f"at {self.now()}")
        self._now = end
        self._tick()

    def _tick(self) -> None:
        self.exchange.handle_timers(self._now)
        self._pump()

    # --- the script's clients -----------------------------------------------------------------------

    def end(self) -> None:
        """Nothing is left behind."""

    def change_manner(self, step: Manner) -> None:
        client = self._clients[step.who]
        if step.manner == "holds back":
            client.held = b""
        elif step.manner == "lets go":
            data, client.held = client.held or b"", None
            self.say(step.who, data)
        elif step.manner == "pieces":
            client.pieces = step.size
        else:
            raise Unsaid("that needs a socket", f"write `over: sockets` in the head for `{step.manner}`")
