"""What ``demo`` and ``run`` show: the stream nobody waits for, the figures, and the three views of them."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import gevent.event
import gevent.os
import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.progress_bar import ProgressBar

from smarkets_pool import Pool
from smarkets_pool.cli.process import ExchangeProcess
from smarkets_pool.cli.watch import Figures, Output, Row, choice, open_view
from smarkets_pool.cli.watch import live as live_module
from smarkets_pool.cli.watch.figures import Totals
from smarkets_pool.cli.watch.live import LiveView
from smarkets_pool.cli.watch.output import OutputHandler
from smarkets_pool.cli.watch.views import JsonView, LineView, View, one_line
from smarkets_pool.exceptions import Error
from smarkets_pool.exchange import EmbeddedExchange
from tests.rig.demos import DEMO, demos
from tests.rig.pooling import Record, execute, pool_on
from tests.rig.terminals import Screen, Terminal
from tests.rig.waiting import eventually

# --- a stream that nobody waits for -----------------------------------------------------------------


class Pipe:
    """A pipe: our end as an ``Output``, and the reader's."""

    def __init__(self, **options: Any) -> None:
        self.reading, writing = os.pipe()
        self.stream = os.fdopen(writing, "w", encoding=options.pop("encoding", "utf-8"))
        self.output = Output(self.stream, **options)
        self.got = b""
        self._reader: gevent.Greenlet | None = None

    def read(self) -> None:
        """Begin to read."""
        gevent.os.make_nonblocking(self.reading)
        self._reader = gevent.spawn(self._read)

    def _read(self) -> None:
        while data := gevent.os.nb_read(self.reading, 65_536):
            self.got += data

    def hang_up(self) -> None:
        """The reader goes away."""
        reading, self.reading = self.reading, -1
        os.close(reading)

    def fill(self) -> int:
        """Write until the writing thread is stuck in it; return the number of bytes."""
        self.output.write("-" * 200_000)
        eventually(lambda: self.output.waiting == 0)
        return 200_000

    def end(self) -> str:
        """Close both ends; return all that was read."""
        if self.reading >= 0 and self._reader is None:
            self.read()
        self.output.close()
        self.stream.close()
        if self._reader is not None:
            self._reader.join(5)
        if self.reading >= 0:
            self.hang_up()
        return self.got.decode(self.output.encoding)


@pytest.fixture
def make_pipe() -> Iterator[Callable[..., Pipe]]:
    """Pipes that are closed after the test."""
    made: list[Pipe] = []

    def make(**options: Any) -> Pipe:
        made.append(Pipe(**options))
        return made[-1]

    yield make
    for pipe in made:
        pipe.end()


def test_a_reader_that_does_not_read_holds_nobody_up(make_pipe: Callable[..., Pipe]) -> None:
    """Megabytes are written into a full pipe while another greenlet goes on; later all of it arrives."""
    pipe = make_pipe()
    pipe.fill()
    turns: list[int] = []
    other = gevent.spawn(lambda: [(turns.append(turn), gevent.sleep(0)) for turn in range(200)])
    for number in range(2_000):
        pipe.output.line(f"{number} " + "x" * 1_000)
        if number % 100 == 0:
            gevent.sleep(0)
    other.join(5)
    assert len(turns) == 200
    assert pipe.output.waiting == 2_000
    lines = pipe.end().lstrip("-").splitlines()
    assert [int(line.split()[0]) for line in lines] == list(range(2_000))


def test_the_oldest_is_dropped_and_counted(make_pipe: Callable[..., Pipe]) -> None:
    """A full queue keeps the latest; the count of what is missing stands before them."""
    pipe = make_pipe(limit=10)
    pipe.fill()
    for number in range(35):
        pipe.output.line(f"line {number}")
    assert (pipe.output.waiting, pipe.output.dropped) == (10, 25)
    assert pipe.end().lstrip("-").splitlines() == [
        "... 25 pieces of output were dropped: nobody took them",
        *(f"line {number}" for number in range(25, 35)),
    ]
    assert pipe.output.dropped == 0


@pytest.mark.parametrize("stuck", [False, True])
def test_a_reader_that_went_away_is_no_error(
    stuck: bool, make_pipe: Callable[..., Pipe], capfd: pytest.CaptureFixture[str]
) -> None:
    """Nothing is raised or printed, in the middle of a write neither; what is written later is forgotten."""
    pipe = make_pipe()
    if stuck:
        pipe.fill()
    pipe.hang_up()
    # gevent closes a descriptor a little later than asked for.
    eventually(lambda: pipe.output.line("to nobody") or pipe.output.broken)
    pipe.output.line("to nobody")
    assert pipe.output.waiting == 0
    pipe.output.close()
    assert capfd.readouterr().err == ""


def test_close_gives_what_waits(make_pipe: Callable[..., Pipe]) -> None:
    """A slow reader still gets everything that was written before the end."""
    pipe = make_pipe()
    for number in range(3_000):
        pipe.output.line(f"{number} " + "x" * 100)
    assert pipe.output.waiting == 3_000
    assert len(pipe.end().splitlines()) == 3_000


def test_close_does_not_wait_for_ever(make_pipe: Callable[..., Pipe]) -> None:
    """A reader that takes nothing costs the end its time limit, and no more."""
    pipe = make_pipe()
    pipe.fill()
    with gevent.Timeout(5, AssertionError("close waits")):
        pipe.output.close(timeout=0.05)
    gevent.sleep(0)


def test_any_thread_may_write(make_pipe: Callable[..., Pipe]) -> None:
    """A handler that computes in a thread logs from there: the first line and the last one arrive."""
    pipe = make_pipe()
    pool = gevent.get_hub().threadpool
    pool.apply(pipe.output.line, ("from a thread",))
    pipe.read()
    eventually(lambda: pipe.got == b"from a thread\n")
    pipe.output.line("from a greenlet")
    jobs = [pool.spawn(pipe.output.line, f"thread {number}") for number in range(50)]
    gevent.joinall(jobs, timeout=5)
    assert len(pipe.end().splitlines()) == 52


def test_a_stream_that_does_not_block_is_waited_for(make_pipe: Callable[..., Pipe]) -> None:
    """A terminal that somebody else made non-blocking is full, not gone."""
    pipe = make_pipe()
    os.set_blocking(pipe.stream.fileno(), False)
    size = pipe.fill()
    pipe.output.line("the end")
    assert len(pipe.end()) == size + len("the end\n")
    assert not pipe.output.broken


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_what_an_encoding_has_not_costs_no_line(encoding: str, make_pipe: Callable[..., Pipe]) -> None:
    """Names may be anything, a half of a surrogate pair from a file's name too."""
    pipe = make_pipe(encoding=encoding)
    pipe.output.line("début … \udc80 日本")
    pipe.output.line("the next one")
    first, second = pipe.end().splitlines()
    assert first.startswith("d") and "but" in first
    assert second == "the next one"


def test_a_process_without_standard_output_has_nobody_to_write_for() -> None:
    """Its view says what it has to say to nobody."""
    output = Output(None)
    output.line("to nobody")
    assert (output.broken, output.waiting, output.isatty()) == (True, 0, False)
    output.close()


def test_a_record_that_cannot_be_formatted_is_loggings_matter(
    make_pipe: Callable[..., Pipe], capsys: pytest.CaptureFixture[str]
) -> None:
    """It is reported as logging does it, and the next one is written."""
    pipe = make_pipe()
    handler = OutputHandler(pipe.output)
    for text, args in (("%d", ("x",)), ("%s", ("fine",))):
        handler.handle(logging.LogRecord("place", logging.ERROR, "file", 1, text, args, None))
    assert pipe.end() == "fine\n"
    assert "--- Logging error ---" in capsys.readouterr().err


# --- figures ----------------------------------------------------------------------------------------


class StandIn:
    """A pool of which only ``stats`` and ``add_handler`` are real; ``members`` is what it says."""

    def __init__(self, **members: dict[str, Any]) -> None:
        self.members = members
        self.handlers: dict[str, Callable[[Any], object]] = {}

    def add_handler(self, name: str, handler: Callable[[Any], object]) -> None:
        self.handlers[name] = handler

    def stats(self) -> dict[str, Any]:
        members = {name: {**_MEMBER, **changes} for name, changes in self.members.items()}
        states = [member["state"] for member in members.values()]
        counts = {state.lower(): states.count(state) for state in ("UP", "RECOVERING", "DOWN")}
        return {"members": members, **counts}


_MEMBER = {
    "state": "UP",
    "why_down": None,
    "given_up": None,
    "retry_in_seconds": None,
    "last_frame_age_seconds": 0.5,
    "frames_received_total": 0,
    "frames_sent_total": 0,
    "logins_total": 1,
    "gaps_found_total": 0,
    "holes_total": 0,
}


def figures_of(pool: StandIn) -> Figures:
    """Figures about a stand-in."""
    return Figures(pool)  # type: ignore[arg-type]


def test_rates_are_since_the_look_before() -> None:
    """Frames per second in each direction, per account and in all; the first look has none."""
    pool = StandIn(a={}, b={})
    figures = figures_of(pool)
    first, _ = figures.look(100.0)
    assert (first.frames_in, first.frames_out) == (0.0, 0.0)
    pool.members["a"] |= {"frames_received_total": 30, "frames_sent_total": 8}
    pool.members["b"] |= {"frames_received_total": 10}
    totals, rows = figures.look(104.0)
    assert [(row.frames_in, row.frames_out) for row in rows] == [(7.5, 2.0), (2.5, 0.0)]
    assert (totals.frames_in, totals.frames_out, totals.frames) == (10.0, 2.0, 40)
    still, _ = figures.look(105.0)
    assert (still.frames_in, still.frames) == (0.0, 40)


def test_two_looks_at_once_have_no_rates() -> None:
    """A clock that did not move gives 0, not billions."""
    pool = StandIn(a={})
    figures = figures_of(pool)
    figures.look(1.0)
    pool.members["a"] |= {"frames_received_total": 5}
    totals, _ = figures.look(1.0)
    assert totals.frames_in == 0.0


def test_totals_are_the_sum_of_the_rows() -> None:
    """States, reconnects (logins but the first), gaps and holes."""
    pool = StandIn(
        a={"logins_total": 4, "gaps_found_total": 2},
        b={"logins_total": 0, "state": "DOWN", "why_down": "refused", "holes_total": 1},
        c={"state": "RECOVERING"},
    )
    totals, rows = figures_of(pool).look(1.0)
    assert (totals.accounts, totals.up, totals.recovering, totals.down) == (3, 1, 1, 1)
    assert (
        (totals.reconnects, totals.gaps)
        == (3, 3)
        == (
            sum(row.reconnects for row in rows),
            sum(row.gaps for row in rows),
        )
    )


def test_the_worst_are_first_and_names_sort_as_people_count() -> None:
    """DOWN, RECOVERING, UP; inside of each account-2 before account-10."""
    pool = StandIn(
        **{"account-10": {}, "account-2": {}, "10": {}, "9": {}},
        late={"state": "DOWN"},
        **{"account-3": {"state": "RECOVERING"}, "early": {"state": "DOWN"}},
    )
    _, rows = figures_of(pool).look(1.0)
    assert [row.account for row in rows] == [
        *("early", "late"),
        "account-3",
        *("9", "10", "account-2", "account-10"),
    ]


def test_a_remark_says_why_and_when() -> None:
    """DOWN: the reason, and the next attempt if there is one; given up: that; UP: nothing."""
    pool = StandIn(
        a={"state": "DOWN", "why_down": "refused", "retry_in_seconds": 1.26},
        b={"state": "DOWN", "why_down": "refused", "given_up": "it is final: refused"},
        c={"state": "DOWN", "why_down": "connecting"},
        d={},
    )
    _, rows = figures_of(pool).look(1.0)
    assert [row.remark for row in rows] == [
        "refused; next attempt in 1.3 s",
        "it is final: refused",
        "connecting",
        "",
    ]


def test_accounts_come_and_go() -> None:
    """A new one has no rate at first, one that went away has no row, and one that came back begins anew."""
    pool = StandIn(a={"frames_received_total": 100})
    figures = figures_of(pool)
    figures.look(1.0)
    pool.members = {"b": {"frames_received_total": 50}}
    totals, rows = figures.look(2.0)
    assert [(row.account, row.frames_in) for row in rows] == [("b", 0.0)]
    assert (totals.accounts, totals.frames) == (1, 50)
    pool.members = {"a": {"frames_received_total": 3}, "b": {"frames_received_total": 60}}
    _, rows = figures.look(3.0)
    assert [(row.account, row.frames_in) for row in rows] == [("a", 0.0), ("b", 10.0)]


def test_counters_that_begin_again_make_no_negative_rates() -> None:
    """``restart`` makes a new member, which counts from 0; no rate and no reconnect is below 0."""
    with EmbeddedExchange(accounts=2) as exchange:
        pool = pool_on(exchange, 2)
        figures, record = Figures(pool), Record(pool)
        with pool:
            pool.wait_until_up(timeout=10)
            execute(exchange, 0, times=40)
            eventually(lambda: figures.look(1.0)[0].executions == 40)
            before, _ = figures.look(1.0)
            pool.restart("alice")
            rows = figures.look(2.0)[1]
            assert all(row.frames_in >= 0 and row.frames_out >= 0 and row.reconnects >= 0 for row in rows)
            record.wait("member.up", 2)
            after, rows = figures.look(3.0)
            assert after.frames < before.frames
            assert all(row.frames_in >= 0 and row.frames_out >= 0 and row.reconnects == 0 for row in rows)


def test_orders_and_executions_are_counted_as_they_are_delivered() -> None:
    """Per account; the handlers registered by ``Figures`` do it."""
    pool = StandIn(a={}, b={})
    figures = figures_of(pool)

    class Told:
        account = "a"

    for name, times in (("seto.order_accepted", 3), ("seto.order_executed", 2)):
        for _ in range(times):
            pool.handlers[name](Told)
    totals, rows = figures.look(1.0)
    assert (totals.orders, totals.executions) == (3, 2)
    assert [(row.orders, row.executions) for row in rows] == [(3, 2), (0, 0)]


# --- views ------------------------------------------------------------------------------------------


class Made:
    """Figures that say what a test wants, however often they are looked at."""

    def __init__(self, *rows: Row) -> None:
        self.rows = list(rows)
        self.looks = 0

    def look(self, now: float) -> tuple[Totals, list[Row]]:
        self.looks += 1
        states = [row.state for row in self.rows]
        counts = (states.count(state) for state in ("UP", "RECOVERING", "DOWN"))
        return Totals(len(states), *counts, 12.4, 3.6, 1234, 5, 67, 89, 2), self.rows


def row(account: str = "alice", state: str = "UP", remark: str = "", **changes: Any) -> Row:
    """An account."""
    values = {"frames_in": 12.4, "frames_out": 3.6, "last_frame": 0.25, "reconnects": 5, "orders": 67}
    return Row(account, state, **{**values, "executions": 89, "gaps": 2, "remark": remark, **changes})


#: Names and reasons of every kind that could break a table, a line or a terminal.
ODD = (
    "[red]x",
    "[/]",
    "[link=http://example.com]y[/link]",
    ":smile:",
    "a\nb\r\nc\td",
    "\x1b[2J\x1b]0;title\x07",
    "\u202egnp",
    "日本語のとても長いアカウントの名前です" * 3,
    "👩‍💻 e\u0301",
    "long" * 60,
    "\udc80",
)


@pytest.fixture
def file(tmp_path: Any) -> Iterator[Any]:
    """A stream with a descriptor that is always read."""
    with open(tmp_path / "output", "w+", encoding="utf-8") as opened:
        yield opened


def said_by(view: type[View], file: Any, story: Callable[[View], object]) -> str:
    """What a view writes about a story."""
    with view(Output(file), Output(None)) as opened:
        story(opened)
    file.seek(0)
    return file.read()


def short_story(view: View) -> None:
    """A bit of everything."""
    view.say("hello", event="greeting", to="world")
    view.look(Made(row("alice"), row("bob", "DOWN", "refused\nby the exchange")))  # type: ignore[arg-type]
    view.summary("in the end", [("events", 5, True), ("lost", 1, False)])


def test_lines_have_the_time_and_words(file: Any) -> None:
    """A line per thing said; figures are one line about all; the summary has one per check."""
    lines = said_by(LineView, file, short_story).splitlines()
    assert all(re.match(r" *\d+\.\d\d s  \S", line) for line in lines[:2])
    assert lines[0].endswith("s  hello")
    assert lines[1].endswith(
        "1 up, 0 recovering, 1 down; 1234 frames (12/s), 67 orders, 89 executions, 5 reconnects, 2 gaps"
    )
    assert lines[2:4] == ["", "in the end"]
    assert [line.split() for line in lines[4:]] == [
        ["events", "5", "ok"],
        ["lost", "1", "NOT", "AS", "IT", "SHOULD", "BE"],
    ]


def test_a_line_stays_one_whatever_is_said(file: Any) -> None:
    """Line ends and sequences of a peer's or a file's text become spaces and escapes."""
    text = said_by(LineView, file, lambda view: [view.say(odd) for odd in ODD])
    lines = text.split("\n")
    assert len(lines) == len(ODD) + 1
    for line, odd in zip(lines, ODD, strict=False):
        assert line.isprintable()
        assert line.endswith(f"s  {one_line(odd)}")


def test_json_is_an_object_per_line(file: Any) -> None:
    """Each has the event and the seconds; figures have every field of the totals and of the rows."""
    objects = [json.loads(line) for line in said_by(JsonView, file, short_story).splitlines()]
    assert all(isinstance(said["seconds"], float) and isinstance(said["event"], str) for said in objects)
    greeting, figures, summary = objects
    assert (greeting["event"], greeting["to"], greeting["text"]) == ("greeting", "world", "hello")
    assert figures["event"] == "figures"
    assert set(figures) == {"event", "seconds", "members", *Totals.__slots__}
    assert [set(member) for member in figures["members"]] == [set(Row.__slots__)] * 2
    assert figures["members"][1]["remark"] == "refused\nby the exchange"
    assert summary["checks"] == [
        {"name": "events", "value": 5, "ok": True},
        {"name": "lost", "value": 1, "ok": False},
    ]


def test_json_keeps_every_text_as_it_is(file: Any) -> None:
    """What is odd is escaped, not changed."""
    text = said_by(JsonView, file, lambda view: [view.say(odd, event=odd, account=odd) for odd in ODD])
    assert text.isascii()
    objects = [json.loads(line) for line in text.splitlines()]
    assert [(said["event"], said["account"], said["text"]) for said in objects] == [(odd,) * 3 for odd in ODD]


def test_json_that_was_dropped_is_told_in_json(make_pipe: Callable[..., Pipe]) -> None:
    """Every line parses also when nobody had read for long."""
    pipe = make_pipe(limit=5)
    with JsonView(pipe.output, Output(None)) as view:
        pipe.fill()
        for number in range(9):
            view.say(f"{number}")
        pipe.read()
    objects = [json.loads(line) for line in pipe.end().lstrip("-").splitlines()]
    assert (objects[0]["event"], objects[0]["lines"]) == ("dropped", 4)
    assert [said["text"] for said in objects[1:]] == ["4", "5", "6", "7", "8"]


# --- the live view ----------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for a picture."""
    monkeypatch.setattr(live_module, "_PAUSE", 0.01)


class Live:
    """A live view on a terminal of a size, in memory."""

    def __init__(self, columns: int = 80, rows: int = 24) -> None:
        self.file = io.StringIO()
        self.columns, self.rows = columns, rows
        console = Console(
            file=self.file, force_terminal=True, width=columns, height=rows, color_system="standard"
        )
        self.view = LiveView(Output(None), Output(None), console)

    def screen(self) -> Screen:
        """What is to be seen by now."""
        screen = Screen(self.columns, self.rows)
        screen.feed(self.file.getvalue().replace("\n", "\r\n"))
        return screen

    def painted(self, text: str) -> list[str]:
        """Wait until a text is to be seen; the lines then."""
        eventually(lambda: any(text in line for line in self.screen().lines))
        return self.screen().lines


SIZES = [(80, 24), (140, 40), (20, 10)]


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("accounts", [3, 1_000])
def test_a_picture_fits_its_terminal(size: tuple[int, int], accounts: int) -> None:
    """Heading, rows, bar and log stay inside of it, line for line; painting again leaves nothing behind."""
    live = Live(*size)
    figures = Made(*(row(f"account-{number}") for number in range(1, accounts + 1)))
    with live.view:
        for number in range(12):
            live.view.say(f"line {number}")
        for _ in range(3):
            live.view.look(figures)  # type: ignore[arg-type]
            eventually(lambda: not live.view._stale)
        lines = live.screen().lines
    assert len(lines) <= size[1]
    assert all(cell_len(line) <= size[0] for line in lines)
    headings = [line for line in lines if line.startswith("account ")]
    assert len(headings) == 1
    assert any(line.startswith("account-1") and "UP" in line for line in lines)
    assert any("━" in line and "%" in line for line in lines)
    assert any(("line 11" if size[0] > 20 else "s  line") in line for line in lines)
    assert sum("log" in line for line in lines) == 1
    shown = sum(line.startswith("account-") for line in lines)
    if shown < accounts:
        assert any(line.startswith(f"and {accounts - shown} more") for line in lines)


@pytest.mark.parametrize("columns", [80, 140])
def test_every_figure_has_a_column(columns: int) -> None:
    """State, rates, age of the last frame, reconnects, orders, executions, gaps, and why it is down."""
    live = Live(columns)
    with live.view:
        live.view.look(Made(row("alice", "DOWN", "refused")))  # type: ignore[arg-type]
        lines = live.painted("alice")
    assert lines[0].split() == [
        *("account", "state", "in/s", "out/s", "last", "frame"),
        *("reconnects", "orders", "executions", "gaps"),
    ]
    assert lines[1].split() == ["alice", "DOWN", "12", "4", "0.2", "s", "5", "67", "89", "2", "refused"]
    ends = [match.end() for match in re.finditer(r"\S+", lines[0].replace("last frame", "last_frame"))]
    assert [lines[1][end - 1] for end in ends[2:]] == ["2", "4", "s", "5", "7", "9", "2"]


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_names_and_reasons_cannot_break_the_picture(size: tuple[int, int]) -> None:
    """Markup, line ends, sequences, wide and endless texts: one line each, columns in their places."""
    for odd in ODD:
        live = Live(*size)
        with live.view:
            live.view.say(odd)
            live.view.look(Made(row(odd, "DOWN", odd), row("bob", "RECOVERING", odd)))  # type: ignore[arg-type]
            lines = live.painted("bob")
            assert len(lines) <= size[1]
            assert all(cell_len(line) <= size[0] for line in lines)
            place = lines.index(next(line for line in lines if line.startswith("bob")))
            assert lines[place - 2].startswith("account ")  # the odd one's row is one line
            if len(odd) < 10 and size[0] > 20:
                assert lines[place - 1].startswith(one_line(odd))
                assert any("log" in line for line in lines)
            if size[0] > 20:
                first, second = lines[place - 1 : place + 1]
                assert cell_len(first[: first.index("DOWN")]) == cell_len(
                    second[: second.index("RECOVERING")]
                )
        assert one_line(odd) == odd or odd not in live.file.getvalue()


def test_the_bar_shows_the_story_or_who_is_up() -> None:
    """A story that has an end is measured by it, otherwise the share of accounts that are up."""
    live = Live()
    with live.view:
        live.view.look(Made(row("a"), row("b", "DOWN"), row("c", "DOWN"), row("d", "DOWN")))  # type: ignore[arg-type]
        without = live.painted("25% up")
        live.view.done = 0.5
        live.view.look(Made(row("a")))  # type: ignore[arg-type]
        with_end = live.painted("50% of the story")
    assert any("1/4 up; 12 frames/s in, 4 out; 67 orders, 89 executions, 2 gaps" in line for line in without)
    assert any("1/1 up" in line for line in with_end)


def test_a_pool_without_accounts_can_be_shown() -> None:
    """No division by nobody."""
    live = Live()
    with live.view:
        live.view.look(Made())  # type: ignore[arg-type]
        live.painted("0/0 up")


def test_log_records_go_to_the_pane_and_tracebacks_above() -> None:
    """A line each, errors in red; the traceback stays on the screen, above the picture."""
    live = Live(120, 40)
    log = logging.getLogger("tests.watch")
    with live.view:
        log.warning("beware of %s", "dogs")
        try:
            raise ValueError("boom\x1b[2J")
        except ValueError:
            log.exception("it failed\nbadly")
        lines = live.painted("it failed badly")
        live.painted("ValueError: boom")
    assert any("WARNING beware of dogs" in line and line.startswith("│") for line in lines)
    raw = live.file.getvalue()
    assert re.search(r"\x1b\[31m *\d+\.\d\d s  ERROR it failed badly", raw)
    lines = live.screen().lines
    above = lines[: next(number for number, line in enumerate(lines) if "log" in line and "╭" in line)]
    assert "Traceback (most recent call last):" in above
    assert "ValueError: boom\\x1b[2J" in above


def test_a_flood_of_tracebacks_is_painted_together() -> None:
    """The latest twenty are printed, the others counted: a handler that always fails must not cost more."""
    live = Live(120, 40)
    log = logging.getLogger("tests.watch")
    with live.view:
        eventually(lambda: not live.view._stale)
        for number in range(300):
            try:
                raise ValueError(f"number {number};")
            except ValueError:
                log.exception("failed")
        live.painted("number 299;")
    shown = re.findall(r"ValueError: number (\d+);", "\n".join(live.screen().lines))
    assert [int(number) for number in shown] == list(range(280, 300))
    assert "... 280 more before this" in live.screen().lines


def test_what_is_printed_stays_above_and_paints_nothing_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bot that prints each execution does not make the table of its accounts each time."""
    live = Live(100, 30)
    with live.view:
        live.view.look(Made(*(row(f"account-{number}") for number in range(9))))  # type: ignore[arg-type]
        live.painted("account-8")
        painted: list[int] = []
        monkeypatch.setattr(ProgressBar, "__rich_console__", lambda *_: painted.append(1))
        for number in range(50):
            print(f"printed {number}")
        monkeypatch.undo()
        assert painted == []
    lines = live.screen().lines
    assert [line for line in lines if line.startswith("printed")] == [f"printed {n}" for n in range(50)]
    assert lines.index("printed 49") < next(n for n, line in enumerate(lines) if line.startswith("account "))
    assert sum(line.startswith("account-8") for line in lines) == 1


class Full(Output):
    """An output whose reader has not come for long; it counts how often somebody asks."""

    def __init__(self) -> None:
        super().__init__(None)
        self.pieces = 20
        self.asked = 0

    @property
    def waiting(self) -> int:
        self.asked += 1
        return self.pieces


def test_pictures_wait_for_a_reader() -> None:
    """A terminal that takes nothing gets no further picture, until it has taken what waits."""
    live = Live()
    output = live.view.output = Full()
    with live.view:
        live.view.look(Made(row()))  # type: ignore[arg-type]
        eventually(lambda: output.asked > 3)
        assert "alice" not in live.file.getvalue()
        output.pieces = 19
        live.painted("alice")


def test_dropped_pictures_are_told_in_the_pane(make_pipe: Callable[..., Pipe]) -> None:
    """A line of its own would shift every picture behind it."""
    pipe = make_pipe(limit=3)
    pipe.fill()
    console = Console(file=pipe.output, force_terminal=True, width=100, height=20)  # type: ignore[arg-type]
    with LiveView(pipe.output, Output(None), console):
        while not pipe.output.dropped:
            pipe.output.write("\r")
        pipe.read()
        eventually(lambda: b"pieces of output were dropped" in pipe.got)
    screen = Screen(100, 20)
    screen.feed(pipe.end().lstrip("-").replace("\n", "\r\n"))
    assert sum("dropped" in line and line.startswith("│") for line in screen.lines) == 1


# --- what a view changes and puts back --------------------------------------------------------------


@pytest.mark.parametrize("view", [LineView, JsonView, LiveView])
@pytest.mark.parametrize("fails", [False, True])
def test_the_root_loggers_handlers_are_as_before(view: type[View], fails: bool) -> None:
    """During the view there is its own handler alone, with the former one's format; then all is back."""
    root = logging.getLogger()
    former = logging.StreamHandler(io.StringIO())
    former.setFormatter(logging.Formatter("formatted: %(message)s"))
    former.setLevel(logging.WARNING)
    root.addHandler(former)
    before = root.handlers[:]
    streams = sys.stdout, sys.stderr
    try:
        with contextlib.suppress(ZeroDivisionError), view(Output(None), Output(None)):
            (mine,) = root.handlers
            assert mine not in before
            assert mine.formatter is not None
            if fails:
                _ = 1 / 0
        assert root.handlers == before
        assert (sys.stdout, sys.stderr) == streams
    finally:
        root.removeHandler(former)


def test_log_records_of_the_plain_views_go_to_standard_error(file: Any, tmp_path: Any) -> None:
    """Standard output has the story alone."""
    errors = (tmp_path / "errors").open("w+")
    with LineView(Output(file), Output(errors)):
        logging.getLogger("tests.watch").error("a record")
    for opened, text in ((file, ""), (errors, "a record\n")):
        opened.seek(0)
        assert opened.read().endswith(text)
    assert "a record" not in file.read()
    errors.close()


def test_figures_are_looked_at_until_unwatch() -> None:
    """Once per pause, and no more afterwards or behind the end of the view."""
    figures = Made(row())
    view = LineView(Output(None), Output(None))
    view.pause = 0.001
    with view:
        view.watch(figures)  # type: ignore[arg-type]
        eventually(lambda: figures.looks > 3)
        view.unwatch()
        looks = figures.looks
        gevent.sleep(0)
        assert figures.looks == looks
        view.watch(figures)  # type: ignore[arg-type]
        eventually(lambda: figures.looks > looks)
    assert view._watcher is None


@pytest.mark.parametrize(
    ("how", "tty", "term", "expected"),
    [
        (None, True, "xterm", LiveView),
        (None, True, "dumb", LineView),
        (None, True, None, LineView),
        (None, False, "xterm", LineView),
        ("lines", True, "xterm", LineView),
        ("json", True, "xterm", JsonView),
    ],
)
def test_the_terminal_decides_unless_one_is_asked_for(
    how: str | None, tty: bool, term: str | None, expected: type[View], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A live table where a cursor can move, lines otherwise."""
    if term is None:
        monkeypatch.delenv("TERM", raising=False)
    else:
        monkeypatch.setenv("TERM", term)
    master, slave = os.openpty()
    with open(slave if tty else os.devnull, "w") as stream:
        monkeypatch.setattr(choice.sys, "stdout", stream)
        monkeypatch.setattr(choice.sys, "stderr", stream)
        assert type(open_view(how)) is expected
        monkeypatch.undo()
    os.close(master)
    if not tty:
        os.close(slave)


# --- the demo, as a process --------------------------------------------------------------------------


def test_on_a_terminal_the_demo_shows_its_table_and_ends_with_the_summary() -> None:
    """One picture with every account, then the checks; status 0, the cursor is back, no complaint."""
    demo = demos()["live"]
    assert (demo.status, demo.errors) == (0, "")
    assert demo.terminal is not None
    screen = demo.terminal.screen()
    assert not screen.cursor_hidden
    assert "\x1b[?25l" in demo.output
    lines = screen.lines
    assert sum(line.startswith("account ") for line in lines) == 1
    for number in range(1, 5):
        assert sum(bool(re.match(rf"account-{number} +UP ", line)) for line in lines) == 1
    assert any("━" in line and line.endswith("100% of the story") for line in lines)
    assert any(line.startswith("4/4 up; ") for line in lines)
    assert "connections cut; other accounts execute" in demo.output
    summary = lines[lines.index("summary, against the exchange's own truth") :]
    checks = [line.rsplit(maxsplit=2) for line in summary[1:] if line]
    assert len(checks) == 17
    assert all(check[2] == "ok" for check in checks)


def test_piped_the_demo_says_plain_lines() -> None:
    """No sequence, no carriage return; the last line is the verdict; also under ``python -X dev``."""
    demo = demos()["lines"]
    assert (demo.status, demo.errors) == (0, "")
    assert all(line.isprintable() for line in demo.output.splitlines())
    assert demo.output.splitlines()[-1].endswith("s  passed")


def test_as_json_the_demo_says_only_json() -> None:
    """Each line is an object with event and seconds, the last one the verdict; logs go elsewhere."""
    demo = demos()["json"]
    assert demo.status == 0
    assert all(
        " DEBUG " in line or " INFO " in line or " WARNING " in line for line in demo.errors.splitlines()
    )
    objects = [json.loads(line) for line in demo.output.splitlines()]
    assert all({"event", "seconds"} <= set(said) for said in objects)
    assert [said["seconds"] for said in objects] == sorted(said["seconds"] for said in objects)
    assert [said["event"] for said in objects][:1] + [said["event"] for said in objects][-2:] == [
        *("demo", "summary", "verdict"),
    ]
    assert objects[-1]["passed"] is True
    assert any(said["event"] == "figures" and len(said["members"]) == 12 for said in objects)


def test_a_terminal_that_stops_reading_does_not_stop_the_sessions() -> None:
    """Nobody ever takes a byte, and the demo passes all the same: nothing lost, nothing handled twice."""
    demo = demos()["stuck"]
    assert (demo.status, demo.errors, demo.output) == (0, "", "")


def test_ctrl_c_ends_the_demo_in_order() -> None:
    """Accounts log out, the exchange's process is gone, the cursor is back; a word instead of a traceback."""
    command = (sys.executable, *DEMO[:2], "-v", *DEMO[2:])
    with (
        Terminal(*command, columns=140, rows=40) as live,
        Terminal(*command, "--lines", columns=140, rows=40) as lines,
    ):
        for terminal in (live, lines):
            terminal.wait_for("accounts are up")
            terminal.press(b"\x03")
        for terminal in (live, lines):
            assert terminal.end(20) == 1
            screen = terminal.screen()
            assert "Aborted!" in screen.lines
            assert not screen.cursor_hidden
            for word in ("Traceback", "KeyboardInterrupt", "ERROR", "not cleanly"):
                assert word not in terminal.text
            with pytest.raises(ProcessLookupError):
                os.kill(int(re.findall(r"process (\d+)", terminal.text)[0]), 0)


def test_an_exchange_process_that_died_says_so() -> None:
    """Each command to it is refused with one of our errors, whichever end of the pipe breaks first."""
    with ExchangeProcess(accounts=1, contracts=1, heartbeat=1.0) as exchange:
        assert exchange.command("truth")["faults"] == []
        os.kill(exchange.pid, 9)
        for _ in range(3):
            with pytest.raises(Error, match="the exchange process has ended"):
                exchange.command("truth")


def test_a_pool_is_watched_from_its_start_to_its_end() -> None:
    """The live view of a real pool: up, down with the reason, and an execution counted."""
    live = Live(140, 30)
    with EmbeddedExchange(accounts=2) as exchange:
        pool: Pool = pool_on(exchange, 2)
        figures = Figures(pool)
        with live.view, pool:
            live.view.watch(figures)
            live.painted("2/2 up")
            execute(exchange, 0)
            live.painted("1 executions")
            pool.remove("bob")
            live.painted("1/1 up")
    assert not any(line.startswith("bob") for line in live.screen().lines)
