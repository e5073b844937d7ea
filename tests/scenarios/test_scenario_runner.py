"""The runner itself: what is not as a script says fails, and shows the talk and the difference."""

from __future__ import annotations

import pytest

from tests.rig.scenario.framing import Frame, FrameCutter, framed
from tests.rig.scenario.language import ScriptError, read_script, sides_tested
from tests.rig.scenario.messages import ENUMS, KINDS
from tests.rig.scenario.playing import play
from tests.rig.scenario.report import ScenarioFailed
from tests.rig.scenario.values import Mistake

LOGIN = """\
ann > 1 login username=ann password=pw-ann
ann < 1 login_response session=$session reset=2 email=ann
ann < 2 throttle_limits_changed
"""


def fails(text: str) -> str:
    """The report of a script that must fail."""
    with pytest.raises(ScenarioFailed) as caught:
        play(read_script(text, "try.session"), "exchange")
    return str(caught.value)


def holds(text: str) -> None:
    """Play a script that must not fail."""
    play(read_script(text, "try.session"), "exchange")


# --- failing ------------------------------------------------------------------------------------------


def test_a_wrong_field_is_shown_beside_what_came_with_the_whole_talk() -> None:
    """Line number, every line before, expected and found value, and what was not read yet."""
    report = fails(LOGIN.replace("reset=2", "reset=3"))
    lines = report.splitlines()
    assert lines[0] == "try.session, line 2: what came is not what is written"
    assert any(line.startswith("      0.000    1   ann > 1 login username=ann") for line in lines)
    assert any(line.startswith("*     0.000    2   ann < 1 login_response") for line in lines)
    assert "- reset: 3" in report
    assert "+ reset: 2" in report
    assert "ann < 2 throttle_limits_changed average_rate_ps=500" in report


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ("ann > ping\nann < 4 pong", "- number: 4"),
        ("ann > ping\nann < heartbeat", "+ message: pong"),
        ("ann > ping\nann < pong is_replay", "- is_replay: yes"),
        ("ann > ping", "the script ends and this was not read"),
        ("ann > ping\nann < nothing", "something came"),
        ("ann > ping\nann < ...\nann < heartbeat", "nothing like it came"),
        ("ann < pong", "nothing came"),
        ("ann < close", "nothing came"),
        ("ann > logout\nann < logout", "close"),
        ("ann > logout\nann < logout\nann < close\nann > ping", "the connection is closed already"),
        ("ann > logout\nann < logout reason=absent\nann < close", "+ reason: CONFIRMATION"),
        ("ann > ping\nann < hex 0a0801", "- bytes: 0a 08 01"),
        ("ann > ping\nann < unreadable", "- message: unreadable"),
        (
            "ann > settings\nann < settings_accepted cancel_all_on_failure=true",
            "+ cancel_all_on_failure: false",
        ),
        ("ann > ping x3\nann < pong x4", "nothing came"),
        ("ann > ping x3\nann < pong x2", "not read"),
        ("truth drop account=ann", "no such fault"),
        ("ann connects", "still connected"),
    ],
)
def test_what_is_not_as_written_fails(steps: str, said: str) -> None:
    """Whatever the kind of line, the report says what was wrong."""
    assert said in fails(LOGIN + steps)


def test_what_was_captured_must_come_again() -> None:
    """The second time a capture is a value."""
    order = "ann > buy 9 @ 1 market_id=100 contract_id=200\nann < order_accepted order_id="
    text = f"{LOGIN}{order}$order\n{order}"
    assert "- order_id: $order = " in fails(text + "$order")
    holds(text + "$order+1")
    holds(text + "$other")


def test_anything_in_between_ends_with_what_follows() -> None:
    """``...`` skips up to the next line that fits, no further."""
    holds(LOGIN + "ann > ping x5\nann < ...\nann < 6 pong\nann < 7 pong")
    holds(LOGIN + "ann > ping x5\nann < ...")
    assert "ann < 7 pong" in fails(LOGIN + "ann > ping x5\nann < ...\nann < 6 pong")


def test_lists_and_groups_are_compared_as_written() -> None:
    """In order and completely, unless ``...`` stands for the rest."""
    text = (
        LOGIN + "ann > buy 7 @ 2500 market_id=100 contract_id=200\nann < order_accepted\n"
        "ann > buy 8 @ 2400 market_id=100 contract_id=200\nann < order_accepted\n"
        "ann > market_subscribe market_id=100\n"
        "ann < market_quotes contract_quotes=[{{contract_id=200 bids={}}}]\nann < market_state"
    )
    for bids in (
        "[2500:7, 2400:8]",
        "[2500:7, ...]",
        "[..., 2400:8]",
        "[...]",
        "*",
        "[{price=2500}, *]",
        "[$best, $second]",
    ):
        holds(text.format(bids))
    assert "+ contract_quotes: [{bids=[2500:7, 2400:8] market_id=100 contract_id=200}]" in fails(
        text.format("[2500:7, 2400:9]")
    )
    for bids in ("[2400:8, 2500:7]", "[2500:7]", "[]", "[2500:7, 2400:8, 2300:1]"):
        assert "bids" in fails(text.format(bids))


# --- the other side -------------------------------------------------------------------------------------

POOL = """\
tests: pool
accounts: alice
program: initial=0.5
pool start
alice logs in
"""
SESSION = """\
tests: session
session logs in
"""


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ("alice < 4 ping", "not read"),
        ("alice < 4 ping\nalice > 4 pong", "- number: 4"),
        ("alice < 4 ping\nalice > 3 ping", "+ message: pong"),
        ("alice < 4 market_state market_id=1 state=OPEN", "alice was given 4 market_state"),
        (
            "alice < 4 market_state market_id=1 state=OPEN\npool alice given market_state state=LIVE",
            "- state: LIVE",
        ),
        (
            "alice < 4 market_state market_id=1 state=OPEN\npool alice given market_quotes",
            "+ message: market_state",
        ),
        ("alice < 4 market_state market_id=1 state=OPEN\npool alice given nothing", "given something"),
        ("pool alice given market_state", "given nothing"),
        ("pool alice is DOWN", "another state"),
        ("pool alice send market_subscribe market_id=1 raises=MemberDown", "does not raise"),
        ("alice < close\nalice > close\npool alice send order_cancel order_id=1", "it raises MemberDown"),
        ("alice < close\nalice > close\npool alice given member.down retry_in=7", "- retry_in: 7"),
        ("alice connects", "does not connect"),
        ("alice > close\nalice < ping", "nothing like it came"),
        ("pool stop\nalice > logout\npool stopped", "has not stopped"),
    ],
)
def test_what_a_pool_does_otherwise_fails(steps: str, said: str) -> None:
    """Words, deliveries, states, errors and ends that are not as written."""
    with pytest.raises(ScenarioFailed) as caught:
        play(read_script(POOL + steps, "try.session"), "pool")
    assert said in str(caught.value)


def test_an_account_that_no_line_names_is_not_forgotten() -> None:
    """It has connected, and the script has to say so."""
    with pytest.raises(ScenarioFailed) as caught:
        play(read_script(POOL.replace("alice\n", "alice, bob\n", 1), "try.session"), "pool")
    assert "bob > 1 login" in str(caught.value)


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ("session read", "session was given 1 login_response"),
        ("session read\nsession given ...\nsession has outseq=7", "- outseq: 7"),
        ("session < payload ffff\nsession read\nsession given ...", "it has raised ParseError"),
        ("session < payload ffff\nsession read\nsession raises LoginError", "raised something else"),
        ("session < payload ffff\nsession read\nsession raises ParseError text=no", "- text: no"),
        ("session read\nsession read\nsession read", "still waiting"),
    ],
)
def test_what_a_session_does_otherwise_fails(steps: str, said: str) -> None:
    """Frames, attributes and errors that are not as written."""
    with pytest.raises(ScenarioFailed) as caught:
        play(read_script(SESSION + steps, "try.session"), "session")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (POOL + "pool carol is UP", "say which: alice"),
        (POOL + "pool alice sings", "a member has no sings"),
        (POOL + "fault drop account=ann", "for the exchange under test"),
        (POOL + "carol < ping", "nobody called carol is under test"),
        ("tests: pool\nprogram: colour=red\npool start", "program: has no colour"),
        (SESSION + "session sings", "a session has no sings"),
    ],
)
def test_what_a_program_cannot_do_is_told(text: str, said: str) -> None:
    """With the line, where there is one."""
    script = read_script(text, "try.session")
    with pytest.raises((ScriptError, Mistake)) as caught:
        play(script, script.head.tests[0])
    assert said in str(caught.value)


# --- mistakes of scripts ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ann > pong x", "'x' is no field of pong"),
        ("ann > pingg", "there is no message 'pingg'; near it: ping"),
        ("ann > bye 400000 @ 2500", "there is no message 'bye'; near it: buy"),
        ("ann > order_create colour=red", "order_create has no field 'colour'"),
        ("ann > eto.order_create", "there is no message 'eto.order_create'"),
        ("ann > ping kind=1", "ping has no field 'kind'; it has none"),
        ("ann > buy 4 2500", "write buy QUANTITY @ PRICE"),
        ("ann > 5 ping x3", "no one number"),
        ("ann sings", "'ann sings' is no step"),
        ("wait long", "'long' is no length of time"),
        ("ann > order_create side=[BUY", "a ] is missing"),
        ('ann > order_create label="x', "without its other half"),
        ("ann > settings cancel_all_on_failure=true cancel_all_on_failure=true", "written twice"),
        ("colour: red", "colour: is no heading"),
        ("tests: robot", "exchange, session or pool, not robot"),
        ("over: air", "memory, sockets or tls, not air"),
        ("wait 1\nsettings: a=1", "belongs to the head"),
    ],
)
def test_a_mistake_of_a_script_is_told_with_its_line(text: str, said: str) -> None:
    """What cannot be read is found before anything is played."""
    with pytest.raises(ScriptError, match=r"^try.session, line \d+: ") as caught:
        read_script(text, "try.session")
    assert said in str(caught.value)


def test_a_script_with_a_mistake_is_played_all_the_same() -> None:
    """So that it fails, once and alone."""
    assert sides_tested("tests: pool, session\npool start") == ["pool", "session"]
    assert sides_tested("tests: pool, session\nann sings") == ["exchange"]


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ("ann > order_create side=UP", "'UP' is no value of side; one of BUY, SELL"),
        ("ann > order_create quantity=many", "'many' is no value of quantity"),
        ("ann > order_cancel order_id=$order", "$order was not captured before"),
        ("ann > nothing", "'nothing' cannot be said"),
        ("bob < pong", "nobody called bob is connected"),
        ("ann > order_create quantity=[1]", "quantity takes one value"),
    ],
)
def test_what_cannot_be_said_is_told_with_its_line(steps: str, said: str) -> None:
    """A value that the schema does not take, or what was never there."""
    with pytest.raises(ScriptError, match=r"^try.session, line 4: ") as caught:
        play(read_script(LOGIN + steps, "try.session"), "exchange")
    assert said in str(caught.value)


# --- its parts ----------------------------------------------------------------------------------------


def test_frames_are_cut_as_they_are_made() -> None:
    """Whatever the size of the payload and of the pieces, and with the padding of the shortest ones."""
    payloads = [b"x" * size for size in (0, 1, 2, 3, 127, 128, 16_383, 16_384)]
    data = b"".join(map(framed, payloads))
    for size in (1, 3, len(data)):
        cutter = FrameCutter()
        found = [frame for at in range(0, len(data), size) for frame in cutter.feed(data[at : at + size])]
        assert found == [Frame(payload, framed(payload)) for payload in payloads]
        assert cutter.rest() == b""
    assert [framed(b"A" * size).hex() for size in range(4)] == [
        "00000000",
        "01410000",
        "02414100",
        "03414141",
    ]


def test_garbage_is_kept_as_it_came() -> None:
    """A header that never ends is no frame, nor is anything behind it."""
    cutter = FrameCutter()
    assert cutter.feed(framed(b"abc") + b"\xff" * 9) == [
        Frame(b"abc", framed(b"abc")),
        Frame(None, b"\xff" * 9),
    ]
    assert cutter.feed(b"more") == [Frame(None, b"more")]


def test_short_names_of_enums() -> None:
    """What all values of an enum begin with is left out, and nothing else."""
    assert ENUMS["LogoutReason"]["DOWNTIME"] == 9
    assert list(ENUMS["OrderInvalidReason"]) == ["INVALID_PRICE", "INVALID_QUANTITY"]
    assert list(ENUMS["OrderQuantityReducedReason"]) == ["MEMBER_REQUESTED"]
    assert list(ENUMS["MarketManagementType"]) == ["UNMANAGED", "MANAGED"]
    assert next(iter(ENUMS["TimeInForceType"])) == "GOOD_TIL_CANCELLED"
    assert list(ENUMS["Side"]) == ["BUY", "SELL"]


def test_every_payload_has_a_name_of_its_own() -> None:
    """No two have one in common, but the login that is of both layers."""
    assert len(KINDS) == len(ENUMS["PayloadType"]) - 1 + len(ENUMS["InnerType"]) - 1
    assert all(kind.short == short for short, kind in KINDS.items())
    assert KINDS["login"].name == "seto.login"
    assert KINDS["heartbeat"].name == "eto.heartbeat"
