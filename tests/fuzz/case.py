"""A case: bytes become settings, connections, frames and what is done to them."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from smarkets_pool import seto
from smarkets_pool.exchange.faults import FAULTS
from tests.fuzz.choices import Choices
from tests.fuzz.frames import Forger, framed, varint
from tests.fuzz.stage import Stage, Stranger, Witness

__all__ = ["Figures", "play"]

MOST_STEPS = 60
MOST_STRANGERS = 6

#: Markets and their contracts; the last market is a case's own.
PLACES = ((1, 2), (1, 2), (1, 2), (3, 4), (5, 6), (5, 7))
REFUSALS = (
    ("order_create", "CAPACITY_REACHED"),
    ("order_create", "INVALID_PRICE"),
    ("order_cancel", "TOO_LATE"),
    ("order_cancel_all", "UNKNOWN_ERROR"),
    ("order_quantity_reduce", "CAPACITY_REACHED"),
    ("order_cancel_replace", "LIMIT_EXCEEDED"),
    ("order_cancel_replace", "replacement:TOO_LATE"),
)
#: Faults that hit the witnesses too, or need a server.
FOR_EVERYBODY = ("certificate", "mass_disconnect", "refuse_connection", "restart")

#: Field of the settings -> values other than its default; a case takes some of them.
VARIANTS: tuple[tuple[str, tuple[Any, ...]], ...] = (
    ("gap_answer", ("logout",)),
    ("unreadable_frame", ("logout",)),
    ("second_login", ("ignore",)),
    ("login_not_first", ("close",)),
    ("heartbeat_style", ("fixed",)),
    ("heartbeat_after", (0.5, 60.0)),
    ("sessions_per_account", ("newest",)),
    ("order_events_to", ("session",)),
    ("cancel_all_by_default", (True,)),
    ("cancel_all_scope", ("session",)),
    ("replay_limit", (0, 4)),
    ("resume_includes_position", (False,)),
    ("resume_marks_replay", (False,)),
    ("history_limit", (0, 3)),
    ("session_limit", (0, 1)),
    ("session_memory", (0.0, 5.0)),
    ("finished_orders", (0, 2)),
    ("opening_balance", (Decimal("12.34"),)),
    ("netting", ("market",)),
    ("crossed_self", ("cancel_resting",)),
    ("unique_references", (True,)),
    ("honours_maq", (False,)),
    ("gtc_survives_halt", (True,)),
    ("reduce_counts_executed", (False,)),
    ("replace_counts_executed", (False,)),
    ("cancel_all_accepted_first", (False,)),
    ("visible_depth", (0, 1)),
    ("reports_leaving_levels", (True,)),
    ("quotes_first", (False,)),
    ("deltas_carry_last_execution", (True,)),
    ("state_after_snapshot", (False,)),
    ("price_feed_snapshots", (True,)),
    ("managed_pending_ms", (0, 500)),
    ("max_label", (0, 8)),
    ("max_live_orders", (1, 4)),
    ("throttle_burst", (3,)),
    ("throttle_enforced", (False,)),
    ("throttle_unanswered", ("silence",)),
    ("max_frame_size", (4_096, 65_536)),
    ("out_buffer_limit", (16_384,)),
    ("account_sequence_32", (False,)),
    ("exposure_sign", ("positive",)),
)


@dataclasses.dataclass
class Figures:
    """What was done, over all cases."""

    cases: int = 0
    steps: int = 0
    connections: int = 0
    closed: int = 0
    bytes_in: int = 0
    requests_of_witnesses: int = 0
    kinds: Counter[str] = dataclasses.field(default_factory=Counter)

    def __str__(self) -> str:
        return (
            f"{self.cases} cases, {self.steps} steps, {self.connections} hostile connections "
            f"({self.closed} closed by the exchange or themselves), {self.bytes_in} hostile bytes, "
            f"{self.requests_of_witnesses} requests of witnesses, all answered"
        )


def play(data: bytes, figures: Figures) -> None:
    """Play one case.

    Raises:
        Finding: something that must hold does not.
    """
    choices = Choices(data)
    with Stage(**_settings(choices)) as stage:
        stage.operate("add_market", market_id=5, contracts=[6, 7])
        player = _Player(stage, choices)
        for _ in range(MOST_STEPS):
            if choices.are_over:
                break
            figures.kinds[player.step()] += 1
            figures.steps += 1
            stage.check()
        for witness in stage.witnesses:
            witness.ping()
        figures.cases += 1
        figures.connections += player.connections
        figures.closed += stage.closed
        figures.bytes_in += player.bytes_in
        figures.requests_of_witnesses += sum(witness.asked for witness in stage.witnesses)


def _settings(choices: Choices) -> dict[str, Any]:
    settings = {}
    for _ in range(choices.below(8)):
        name, values = choices.pick(VARIANTS)
        settings[name] = choices.pick(values)
    return settings


class _Player:
    """Carries out the steps of one case."""

    def __init__(self, stage: Stage, choices: Choices) -> None:
        self._stage = stage
        self._choices = choices
        self._forger = Forger(choices, stage.known)
        self._steps = (
            # What ends a connection at once is rare, or nothing would get far.
            *([self._honest_frame] * 10 + [self._several_frames] * 4 + [self._replay] * 3),
            *(
                [self._witness] * 4
                + [self._match] * 3
                + [self._staff] * 4
                + [self._wait] * 2
                + [self._connect_and_login] * 2
            ),
            *(self._repeat, self._repeat, self._part_of_a_frame, self._wrong_number, self._second_login),
            *(self._spoilt_frame, self._raw, self._huge_length),
            *(self._connect, self._hang_up, self._stop_listening, self._fault, self._fault),
        )
        self.connections = 0
        self.bytes_in = 0

    def step(self) -> str:
        """The next step; returns its name."""
        step = self._choices.pick(self._steps)
        step()
        return step.__name__.lstrip("_")

    # --- who ---

    def _stranger(self) -> Stranger:
        strangers = self._stage.strangers
        if not strangers:
            self._connect_and_login()
            strangers = self._stage.strangers
        return strangers[self._choices.below(len(strangers))]

    def _send(self, stranger: Stranger, data: bytes) -> None:
        self.bytes_in += len(data)
        stranger.say(data)

    def _connect(self) -> None:
        if len(self._stage.strangers) < MOST_STRANGERS:
            self._stage.stranger()
            self.connections += 1

    def _connect_and_login(self) -> None:
        if len(self._stage.strangers) < MOST_STRANGERS:
            stranger = self._stage.stranger()
            self.connections += 1
            self._send(stranger, framed(self._forger.login(1, insider=not self._choices.one_in(16))))
            if stranger.peer.closing:
                self._stage.check()
                if not self._stage.strangers:
                    self._connect()

    # --- what ---

    def _honest_frame(self) -> None:
        stranger = self._stranger()
        self._send(stranger, framed(self._forger.payload(stranger.next_seq)))

    def _several_frames(self) -> None:
        stranger = self._stranger()
        seq = stranger.next_seq
        count = 1 + self._choices.below(6)
        self._send(stranger, b"".join(framed(self._forger.payload(seq + n)) for n in range(count)))

    def _spoilt_frame(self) -> None:
        stranger = self._stranger()
        frame = bytearray(framed(self._forger.payload(stranger.next_seq)))
        for _ in range(1 + self._choices.below(3)):
            self._spoil(frame)
        self._send(stranger, bytes(frame))

    def _spoil(self, frame: bytearray) -> None:
        choices = self._choices
        at = choices.below(len(frame) or 1)
        kind = choices.below(5)
        if kind == 0 and frame:
            frame[at] ^= 1 << choices.below(8)
        elif kind == 1:
            del frame[at:]
        elif kind == 2:
            frame[at:at] = choices.blob(6)
        elif kind == 3:
            del frame[at : at + 1 + choices.below(4)]
        else:
            frame[at:at] = frame[at : at + 8]

    def _wrong_number(self) -> None:
        stranger = self._stranger()
        choices = self._choices
        kind = choices.below(4)
        seq = choices.integer() if kind == 0 else max(0, stranger.next_seq + choices.pick((-2, -1, 1, 2, 50)))
        if kind == 1:
            self._send(stranger, framed(self._forger.replay_request(seq, choices.integer())))
        else:
            self._send(stranger, framed(self._forger.payload(seq)))

    def _replay(self) -> None:
        stranger = self._stranger()
        choices = self._choices
        latest = stranger.peer.protocol.outseq
        first = choices.integer() if choices.one_in(3) else max(0, latest - choices.below(12))
        for _ in range(1 + choices.below(4)):
            self._send(stranger, framed(self._forger.replay_request(stranger.next_seq, first)))

    def _part_of_a_frame(self) -> None:
        stranger = self._stranger()
        frame = framed(self._forger.payload(stranger.next_seq))
        at = self._choices.below(len(frame))
        self._send(stranger, frame[:at])
        if self._choices.one_in(2):
            self._stage.check()
            if not stranger.peer.closing:
                self._send(stranger, frame[at:])

    def _repeat(self) -> None:
        stranger = self._stranger()
        if stranger.repeats:
            self._send(stranger, self._choices.pick(stranger.repeats))

    def _raw(self) -> None:
        self._send(self._stranger(), self._choices.blob(48))

    def _huge_length(self) -> None:
        length = varint(self._choices.integer())
        self._send(self._stranger(), length + self._choices.blob(16))

    def _second_login(self) -> None:
        stranger = self._stranger()
        seq = stranger.next_seq if self._choices.one_in(2) else 1
        self._send(stranger, framed(self._forger.login(seq)))

    def _hang_up(self) -> None:
        stranger = self._stranger()
        if self._choices.one_in(2):
            stranger.hang_up()

    def _stop_listening(self) -> None:
        stranger = self._stranger()
        stranger.reads = not stranger.reads

    # --- everything else ---

    def _wait(self) -> None:
        self._stage.wait(self._choices.pick((0.001, 0.5, 1.0, 3.0, 8.0, 31.0)))

    def _staff(self) -> None:
        choices, known = self._choices, self._stage.known
        market_id, contract_id = choices.pick(PLACES)
        market = {"market_id": market_id}
        place = {**market, "contract_id": contract_id}
        account = {"account": choices.pick(("ann", "bob", "eve", "mal"))}
        order = {"order_id": choices.pick(known.orders) if known.orders else 0}
        trades = [trade for market in self._stage.exchange.engine.markets.values() for trade in market.trades]
        trade = {"trade_id": choices.pick(trades) if trades else 0}
        factor = 1 + choices.byte() * 39
        state = {"state": choices.pick(("OPEN", "LIVE", "HALTED", "NEW", "OPEN"))}
        request, reason = choices.pick(REFUSALS)
        verbs: tuple[tuple[str, dict[str, object]], ...] = (
            ("set_market_state", {**market, **state}),
            ("set_market_state", {**market, "state": "OPEN"}),
            ("set_contract_state", {**place, **state}),
            ("set_contract_state", {**place, "state": "OPEN"}),
            ("set_managed", {**market, "managed": choices.one_in(2)}),
            ("set_managed", {**market, "managed": True}),
            ("reduce", {**place, "factor": factor, "kind": choices.pick(("PRICE", "QUANTITY"))}),
            ("void_order", order),
            ("cancel_order", order),
            ("void_trade", trade),
            ("void_trade", trade),
            ("confirm_trade", trade),
            ("cancel_all", {**account, "market_id": choices.pick((None, 1, 5))}),
            ("suspend_trading", account),
            ("resume_trading", choices.pick((account, {}))),
            ("suspend_account", account),
            ("restore_account", account),
            (
                "set_limits",
                {**account, "exposure": choices.pick((None, "1.00")), "stake": choices.pick((None, "5"))},
            ),
            ("refuse_next", {**account, "request": request, "reason": reason}),
            ("set_backend", {"up": not choices.one_in(4)}),
            (
                choices.pick(("settle", "settle_contract", "void_market", "void_contract", "remove_market")),
                {},
            ),
        )
        verb, arguments = choices.pick(verbs)
        if not arguments:
            self._end_of(verb, market_id, contract_id)
        else:
            self._stage.operate(verb, **arguments)

    def _end_of(self, verb: str, market_id: int, contract_id: int) -> None:
        """A market or a contract is over; one that is gone may come again."""
        arguments: dict[str, object] = {"market_id": market_id}
        if verb.endswith("contract"):
            arguments["contract_id"] = contract_id
        if verb == "settle":
            arguments["winners"] = [contract_id]
        elif verb == "settle_contract":
            arguments["won"] = self._choices.one_in(2)
        self._stage.operate(verb, **arguments)
        if verb == "remove_market":
            contracts = [contract for market, contract in PLACES if market == market_id]
            self._stage.operate("add_market", market_id=market_id, contracts=contracts)

    def _fault(self) -> None:
        """Something goes wrong on purpose for one of the strangers' accounts."""
        choices = self._choices
        kind = FAULTS[choices.pick([name for name in FAULTS if name not in FOR_EVERYBODY])]
        arguments: dict[str, object] = {"account": choices.pick(("eve", "mal"))}
        for parameter in kind.parameters:
            if parameter.name != "account" and choices.one_in(2):
                arguments[parameter.name] = self._argument(parameter.kind, parameter.choices)
        self._stage.inject(kind.name, arguments)

    def _argument(self, kind: str, there: Sequence[str]) -> object:
        choices = self._choices
        if there:
            return choices.pick(there)
        values: dict[str, Sequence[object]] = {
            "number": (1, 2, 5, 100),
            "seconds": (0.5, 0.0, 3.0),
            "chance": (0.5, 1.0),
            "names": (["*"], ["eto.*"], ["eto.login_response"], ["eto.pong", "seto.order_accepted"]),
            "reason": ("UNVERIFIED", "NONE", "DOWNTIME", "CONFIRMATION"),
        }
        return choices.pick(values[kind])

    def _witness(self) -> None:
        choices = self._choices
        witness = choices.pick(self._stage.witnesses)
        kind = choices.below(8)
        if kind == 0:
            witness.ping()
        elif kind == 1:
            witness.ask("market_subscribe", seto.MarketSubscribe(market_id=choices.pick((1, 3, 9))))
        elif kind == 2:
            witness.ask("settings", seto.Settings())
        elif kind == 3:
            witness.ask("order_cancel_all", seto.OrderCancelAll())
        elif kind < 6:
            self._order_of(witness)
        elif kind == 6:
            witness.ask("order_cancel", seto.OrderCancel(order_id=(witness.orders or [1])[-1]))
        else:
            replacement = seto.OrderCancelReplace(
                orig_order_id=(witness.orders or [1])[-1], price=2499, quantity=50_000
            )
            witness.ask("order_cancel_replace", replacement)

    def _match(self) -> None:
        """The witnesses trade with each other, or with whoever was there before."""
        for witness, side in zip(self._stage.witnesses, (seto.SIDE_BUY, seto.SIDE_SELL), strict=True):
            self._order_of(witness, side=side, price=2500)

    def _order_of(self, witness: Witness, *, side: int | None = None, price: int | None = None) -> None:
        choices = self._choices
        market_id, contract_id = choices.pick(PLACES)
        order = seto.OrderCreate(
            side=side or choices.pick((seto.SIDE_BUY, seto.SIDE_SELL)),
            price=price or choices.pick((2500, 2499, 2501)),
            quantity=choices.pick((10_000, 20_000, 100_000)),
            market_id=market_id,
            contract_id=contract_id,
            tif=choices.pick((1, 2, 3, 4)),
        )
        witness.ask("order_create", order)
