"""What faults do to frames on their way out: the line of one connection, pure, on a manual clock."""

from __future__ import annotations

import pytest

from smarkets_pool import seto
from smarkets_pool.exchange.faults import Faults
from smarkets_pool.exchange.line import Line, frames_in
from smarkets_pool.exchange.truth import Truth, TruthFault
from tests.rig.ends import START, brief, cut, framed, heartbeat, market, pong


class Outlet:
    """A line of the account ``ann``, its faults and a clock."""

    def __init__(self, *faults: str, seed: int = 0) -> None:
        self.now = START
        self.truth = Truth()
        self.faults = Faults(self.truth, seed, lambda: self.now)
        self.line = Line(self.faults)
        self.line.account = "ann"
        for fault in faults:
            self.faults.apply(fault)

    def write(self, *frames: bytes) -> list[str]:
        """Put frames in; return in brief what comes out at once."""
        for frame in frames:
            self.line.write(frame, self.now)
        return self.out()

    def out(self) -> list[str]:
        """What has come out, in brief."""
        return [brief(seto.Payload.FromString(body)) for body in cut(self.raw())]

    def raw(self) -> bytes:
        """The same as bytes."""
        self.line.advance(self.now)
        return self.line.take()

    def wait(self, seconds: float) -> list[str]:
        """Let time pass; return what comes out."""
        self.now += seconds
        return self.out()

    def kinds(self) -> list[tuple[str, str]]:
        """What the truth says happened."""
        return [(fault.kind, fault.detail) for fault in self.truth.faults]


def orders(*numbers: int) -> list[bytes]:
    """Seto frames of these numbers."""
    return [market(number) for number in numbers]


def told(*numbers: int) -> list[str]:
    """The same in brief."""
    return [f"{number} market_subscribe" for number in numbers]


# --- no fault -------------------------------------------------------------------------------------


def test_without_a_fault_everything_comes_out_as_it_went_in() -> None:
    """In order, at once, each byte once, and nothing is due later."""
    outlet = Outlet()
    data = b"".join([*orders(2, 3), heartbeat(4)])
    outlet.line.write(data, outlet.now)
    assert outlet.line.size == len(data)
    assert outlet.raw() == data
    assert outlet.raw() == b""
    assert (outlet.line.size, outlet.line.empty, outlet.line.next_deadline()) == (0, True, None)


def test_frames_are_cut_where_they_end() -> None:
    """Also padded ones, and one whose header takes three bytes."""
    frames = [framed(b""), framed(b"a"), framed(b"x" * 20_000), pong(2)]
    assert [frame for frame, _ in frames_in(b"".join(frames))] == frames


def test_another_accounts_faults_do_not_count() -> None:
    """What waits for bob leaves ann's frames alone."""
    outlet = Outlet("drop account=bob frames=5")
    assert outlet.write(*orders(2)) == told(2)
    assert outlet.truth.faults == []


def test_what_is_written_as_it_is_keeps_its_place() -> None:
    """Bytes that are no frames come out between those before and behind them; nothing happens to them."""
    outlet = Outlet("drop account=ann frames=2", "delay account=ann seconds=3")
    outlet.write(*orders(2, 3))
    outlet.line.write_as_is(market(9), outlet.now)
    assert outlet.out() == told(9)
    outlet.write(*orders(4))
    outlet.line.write_as_is(market(9), outlet.now)
    assert outlet.out() == []
    assert outlet.wait(3) == told(4, 9)


# --- each fault -----------------------------------------------------------------------------------


def test_drop() -> None:
    """So many seto frames are lost, then none; others pass."""
    outlet = Outlet("drop account=ann frames=2")
    assert outlet.write(*orders(2), heartbeat(3), *orders(4, 5)) == ["3 heartbeat", *told(5)]
    assert outlet.truth.faults == [TruthFault("drop", "ann", "seto.market_subscribe")] * 2
    assert outlet.faults.waiting() == []


def test_duplicate() -> None:
    """The frame comes out twice, the next one once."""
    outlet = Outlet("duplicate account=ann")
    assert outlet.write(*orders(2, 3)) == told(2, 2, 3)
    assert outlet.kinds() == [("duplicate", "seto.market_subscribe")]


@pytest.mark.parametrize(
    ("frames", "expected"),
    [(1, told(3, 2, 4, 5)), (2, told(4, 2, 3, 5)), (3, told(5, 2, 3, 4))],
)
def test_reorder(frames: int, expected: list[str]) -> None:
    """The frames follow the first one behind them, in their own order."""
    outlet = Outlet(f"reorder account=ann frames={frames}")
    assert outlet.write(*orders(2, 3, 4, 5)) == expected
    assert len(outlet.truth.faults) == frames


def test_a_frame_that_does_not_count_ends_the_waiting_of_reordered_ones() -> None:
    """A heartbeat is passed as well, and the rest of the fault goes on behind it."""
    outlet = Outlet("reorder account=ann frames=2")
    assert outlet.write(*orders(2)) == []
    assert outlet.write(heartbeat(3)) == ["3 heartbeat", *told(2)]
    assert outlet.write(*orders(4, 5)) == told(5, 4)


def test_delay() -> None:
    """The frame waits, what is behind it too, and then all come in their order."""
    outlet = Outlet("delay account=ann seconds=2")
    assert outlet.write(*orders(2, 3)) == []
    outlet.wait(1)
    assert outlet.write(heartbeat(4)) == []
    assert outlet.line.next_deadline() == START + 2
    assert outlet.wait(0.9) == []
    assert outlet.wait(0.1) == [*told(2, 3), "4 heartbeat"]
    assert outlet.write(*orders(5)) == told(5)
    assert outlet.kinds() == [("delay", "seto.market_subscribe by 2 s")]


def test_every_delayed_frame_waits_from_when_it_was_sent() -> None:
    """Two frames a second apart come out a second apart."""
    outlet = Outlet("delay account=ann seconds=2 frames=2")
    outlet.write(*orders(2))
    outlet.wait(1)
    outlet.write(*orders(3))
    assert outlet.wait(1) == told(2)
    assert outlet.wait(1) == told(3)


def test_drip() -> None:
    """Pieces of that size, the first at once, the next each after a pause; what is behind waits."""
    outlet = Outlet("drip account=ann size=4 seconds=0.5")
    frame = market(2)
    outlet.line.write(frame + heartbeat(3), outlet.now)
    pieces = [outlet.raw()]
    while not outlet.line.empty:
        due = outlet.line.next_deadline()
        assert due is not None
        outlet.now += 0.5
        assert outlet.now == due
        pieces.append(outlet.raw())
    assert [len(piece) for piece in pieces[:-1]] == [4] * (len(pieces) - 1)
    assert b"".join(pieces) == frame + heartbeat(3)
    assert len(pieces) == -(-len(frame) // 4)
    assert outlet.kinds() == [("drip", "seto.market_subscribe, 4 bytes every 0.5 s")]


def test_a_drip_behind_a_delay_begins_when_the_delay_is_over() -> None:
    """Nothing overtakes; the pauses count from there."""
    outlet = Outlet("delay account=ann seconds=3", "drip account=ann size=1 seconds=1")
    outlet.write(*orders(2, 3))
    outlet.now += 3
    assert outlet.raw() == market(2) + market(3)[:1]
    outlet.now += 1
    assert outlet.raw() == market(3)[1:2]


@pytest.mark.parametrize(("where", "size"), [("before", 0), ("inside", 5), ("after", 11)])
def test_cut(where: str, size: int) -> None:
    """Before, in the middle of or behind the frame the line ends; what was before it comes out."""
    frame = market(3)
    assert len(frame) == 11
    outlet = Outlet(f"cut account=ann where={where}")
    outlet.line.write(heartbeat(2) + frame + market(4), outlet.now)
    assert outlet.line.broken
    assert outlet.raw() == heartbeat(2) + frame[:size]
    outlet.line.write(market(5), outlet.now)
    assert outlet.raw() == b""
    assert outlet.kinds() == [("cut", f"{where} seto.market_subscribe")]


def test_a_cut_behind_a_delay_waits_for_it() -> None:
    """The line ends where the frame is, not earlier."""
    outlet = Outlet("delay account=ann seconds=2", "cut account=ann where=after")
    outlet.write(*orders(2, 3, 4))
    assert not outlet.line.broken
    assert outlet.wait(2) == told(2, 3)
    assert outlet.line.broken


def test_a_cut_can_keep_the_account_away() -> None:
    """From the moment of the cut logins are refused for so long."""
    outlet = Outlet("cut account=ann where=before away=5")
    assert outlet.faults.refusal("ann") is None
    outlet.write(*orders(2))
    assert outlet.faults.refusal("ann") is not None
    outlet.now += 5
    assert outlet.faults.refusal("ann") is None


# --- which frames ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "lost"),
    [
        ("seto.*", [3, 5]),
        ("eto.*", [2, 4]),
        ("*", [2, 3]),
        ("eto.pong", [4]),
        ("eto.heartbeat,seto.market_subscribe", [2, 3]),
        ("seto.order_accepted", []),
    ],
)
def test_names_say_which_frames_count(names: str, lost: list[int]) -> None:
    """By payload name, by layer, or all."""
    outlet = Outlet(f"drop account=ann frames=2 names={names}")
    heard = outlet.write(heartbeat(2), market(3), pong(4), market(5))
    assert [number for number in (2, 3, 4, 5) if not any(h.startswith(f"{number} ") for h in heard)] == lost


def test_the_oldest_fault_that_matches_has_the_frame() -> None:
    """One fault per frame, in the order in which they were asked for."""
    outlet = Outlet("duplicate account=ann", "drop account=*", "duplicate account=ann")
    assert outlet.write(*orders(2, 3, 4)) == told(2, 2, 4, 4)
    assert [kind for kind, _ in outlet.kinds()] == ["duplicate", "drop", "duplicate"]


# --- chance ---------------------------------------------------------------------------------------


def test_chance_is_the_same_for_the_same_seed() -> None:
    """Which frames are hit depends on the seed, and on nothing else."""

    def heard(seed: int) -> list[str]:
        outlet = Outlet("drop account=ann frames=1000 probability=0.3", seed=seed)
        return outlet.write(*orders(*range(2, 202)))

    assert heard(1) == heard(1) != heard(2)
    assert 100 < len(heard(1)) < 180


def test_one_faults_chance_is_not_moved_by_anothers_traffic() -> None:
    """Frames of bob between ann's change nothing for ann."""

    def lost_of_ann(frames_of_bob: int) -> list[str]:
        outlet = Outlet(
            "drop account=ann frames=50 probability=0.5", "drop account=bob frames=50 probability=0.5"
        )
        other = Line(outlet.faults)
        other.account = "bob"
        heard: list[str] = []
        for number in range(2, 40):
            heard += outlet.write(market(number))
            for _ in range(frames_of_bob):
                other.write(market(number), outlet.now)
        return heard

    assert lost_of_ann(0) == lost_of_ann(1) == lost_of_ann(3)


@pytest.mark.parametrize(("probability", "left"), [("0", 50), ("1", 0)])
def test_never_and_always(probability: str, left: int) -> None:
    """The ends of the range are certain."""
    outlet = Outlet(f"drop account=ann frames=50 probability={probability}")
    assert len(outlet.write(*orders(*range(2, 52)))) == left


# --- held -----------------------------------------------------------------------------------------


def test_a_held_line_keeps_everything() -> None:
    """Nothing comes out; afterwards all of it does, in order."""
    outlet = Outlet()
    outlet.line.held = True
    assert outlet.write(*orders(2, 3)) == []
    assert outlet.line.size == 22
    outlet.line.held = False
    assert outlet.out() == told(2, 3)


def test_what_was_discarded_is_gone() -> None:
    """What was not taken, what was to come later, what waited for another frame, and what follows."""
    outlet = Outlet("reorder account=ann names=seto.*", "delay account=ann seconds=1 names=eto.pong")
    outlet.line.write(heartbeat(2), outlet.now)
    outlet.line.write(market(3), outlet.now)
    outlet.line.advance(outlet.now)
    outlet.line.discard()
    assert (outlet.line.size, outlet.line.empty) == (0, True)
    assert outlet.write(heartbeat(4)) == []
    late = Outlet("delay account=ann seconds=1")
    late.write(*orders(2))
    late.line.discard()
    assert late.line.next_deadline() is None
    assert late.wait(1) == []
    assert late.write(*orders(3)) == []


def test_last_bytes_end_the_line() -> None:
    """They come out behind what has, and nothing follows them; they need be no frame."""
    outlet = Outlet()
    outlet.line.write(heartbeat(2), outlet.now)
    outlet.line.advance(outlet.now)
    outlet.line.end_with(b"\x14\x08")
    assert outlet.line.size == len(heartbeat(2)) + 2
    outlet.line.write(heartbeat(3), outlet.now)
    assert outlet.raw() == heartbeat(2) + b"\x14\x08"
    assert outlet.raw() == b""


def test_a_line_says_how_it_is() -> None:
    """Open, held or broken, and how much waits."""
    outlet = Outlet("cut account=ann where=after")
    outlet.line.write(heartbeat(2), outlet.now)
    assert repr(outlet.line) == "<Line open, 9 bytes>"
    outlet.line.held = True
    assert repr(outlet.line) == "<Line held, 9 bytes>"
    outlet.line.held = False
    outlet.write(*orders(3))
    assert repr(outlet.line) == "<Line broken, 0 bytes>"
