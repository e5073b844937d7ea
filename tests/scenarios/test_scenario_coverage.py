"""What the scripts show altogether: every message, reason, fault and reference transcript there is."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import pathlib

import pytest

from smarkets_pool.exchange import ExchangeSettings
from smarkets_pool.exchange.faults import FAULTS
from smarkets_pool.pool.delivery import NEVER_DELIVERED
from smarkets_pool.wire.payloads import REQUEST_NAMES
from smarkets_pool.wire.schema import eto_pb2 as eto
from smarkets_pool.wire.schema import seto_pb2 as seto
from tests.rig.scenario.coverage import CASES, DIRECTIONS, ENUM_VALUES, lines_of, shows
from tests.rig.scenario.language import Script, ScriptError, read_script, script_at
from tests.rig.scenario.messages import KINDS
from tests.rig.scenario.ordering import exchange_settings
from tests.rig.scenario.tables import cases_table, messages_table, reasons_table
from tests.rig.scenario.values import Mistake

PATHS = sorted(pathlib.Path(__file__).parent.glob("*.session"))


def _readable() -> list[Script]:
    found = []
    for path in PATHS:
        # One that cannot be read shows nothing, and fails where it is played.
        with contextlib.suppress(ScriptError):
            found.append(script_at(path))
    return found


SCRIPTS = _readable()


@functools.cache
def _claimed() -> dict[str, list[str]]:
    """Claim -> the scripts that make it, those that test the exchange alone."""
    found: dict[str, list[str]] = {}
    for script in SCRIPTS:
        for claim in script.head.shows:
            if "exchange" in script.head.tests:
                found.setdefault(claim, []).append(script.name)
    return found


@pytest.mark.parametrize("script", SCRIPTS, ids=[script.name for script in SCRIPTS])
def test_a_script_shows_what_it_says(script: Script) -> None:
    """Each claim of its head is true of its lines."""
    assert [claim for claim in script.head.shows if not shows(script, claim)] == []


def test_every_payload_type_is_shown_from_whoever_sends_it() -> None:
    """Of both layers, in each direction that it has, by a script that tests the exchange."""
    said = {
        (line.direction, line.name)
        for script in SCRIPTS
        if "exchange" in script.head.tests
        for line in lines_of(script)
    }
    wanted = {(direction, kind.short) for kind in KINDS.values() for direction in DIRECTIONS[kind.name]}
    assert sorted(wanted - said) == []


def test_directions_are_those_of_a_client() -> None:
    """What our own client sends, and what handlers never get, goes in that direction."""
    to_exchange = {name for name, directions in DIRECTIONS.items() if ">" in directions}
    assert to_exchange >= REQUEST_NAMES
    only_to_exchange = {name for name, directions in DIRECTIONS.items() if directions == ">"}
    assert only_to_exchange >= NEVER_DELIVERED - {"eto.login"}


def test_the_kinds_are_those_of_the_schema() -> None:
    """Nothing in the schema is overlooked: each payload type of both layers has a name in scripts."""
    types = {f"seto.{name.removeprefix('PAYLOAD_').lower()}" for name in seto.PayloadType.keys()}  # noqa: SIM118
    types |= {f"eto.{name.removeprefix('PAYLOAD_').lower()}" for name in eto.PayloadType.keys()}  # noqa: SIM118
    # The outer ETO is what eto payloads travel in, and a login is one frame of both layers.
    assert {kind.name for kind in KINDS.values()} == types - {"seto.eto", "eto.login"}


@pytest.mark.parametrize(
    "wanted",
    [
        pytest.param(ENUM_VALUES, id="enum values"),
        pytest.param({f"fault {name}" for name in FAULTS}, id="faults"),
        pytest.param({kind.name for kind in KINDS.values()}, id="messages"),
        pytest.param({case for case in CASES if case.startswith("row ")}, id="reference transcripts"),
    ],
)
def test_everything_there_is_is_claimed_by_a_script(wanted: set[str]) -> None:
    """Some head of a script that tests the exchange names it."""
    assert sorted(wanted - set(_claimed())) == []


def test_every_case_has_a_script() -> None:
    """Gaps, replays, resumption: for whichever side."""
    claims = {claim for script in SCRIPTS for claim in script.head.shows}
    assert sorted(set(CASES) - claims) == []


def test_every_setting_of_the_exchange_has_a_script() -> None:
    """Each is turned to something else than its default by a script, which shows what that does."""
    defaults = ExchangeSettings()
    turned = {
        name
        for script in SCRIPTS
        for name in script.head.settings
        if getattr(exchange_settings(script.head.settings), name) != getattr(defaults, name)
    }
    assert sorted({field.name for field in dataclasses.fields(ExchangeSettings)} - turned) == []


def test_there_are_scripts_for_every_side() -> None:
    """At least sixty in all, some of which have a client under test, and some both ends in turn."""
    assert len(SCRIPTS) >= 60
    tested = [tuple(script.head.tests) for script in SCRIPTS]
    assert {("exchange",), ("session",), ("pool",), ("exchange", "session")} <= set(tested)


@pytest.mark.parametrize(
    ("claim", "steps", "is_true"),
    [
        ("eto.pong", "ann > ping", False),
        ("eto.ping", "ann > ping", True),
        ("eto.ping", "ann > hex 0808011204 08021002", True),
        ("LogoutReason.NONE", "ann > logout", False),
        ("LogoutReason.NONE", "ann > logout reason=NONE", True),
        ("ContractStateType.REDUCED", "ann < market_state contracts=[1:REDUCED]", True),
        ("ContractStateType.OPEN", "ann < market_state contracts=[1:REDUCED]", False),
        ("fault drop", "fault drop account=ann", False),
        ("fault drop", "fault drop account=ann\ntruth drop", True),
        ("row 3.2 ping", "ann < pong\nann > ping", False),
        ("row 3.2 ping", "ann > ping\nbob < pong", False),
        ("row 3.2 ping", "ann > ping\nbob < pong\nann < pong", True),
        ("row 2.8 bad order", "ann > buy 1 @ 1\nann < order_invalid reasons=[INVALID_PRICE]", False),
        ("row 2.8 bad order", "ann > buy 1 @ 1\nann < order_invalid reasons=[INVALID_QUANTITY]", True),
    ],
)
def test_a_claim_is_looked_for_in_the_lines(claim: str, steps: str, is_true: bool) -> None:
    """By message, value, fault and order of lines, each in one conversation."""
    assert shows(read_script(steps), claim) is is_true


def test_a_claim_that_nobody_knows_is_a_mistake() -> None:
    """A misspelt one does not count as shown."""
    with pytest.raises(Mistake, match=r"nobody knows how to show 'seto\.oder_create'"):
        shows(read_script("ann > ping"), "seto.oder_create")


def test_no_cell_of_the_documents_tables_is_empty() -> None:
    """In docs/exchange-messages.md every message, in each of its directions, value and case has a script."""
    for table in (messages_table(), reasons_table(), cases_table()):
        rows = table.splitlines()[2:]
        assert [row for row in rows if row.endswith("|  |") or "|  |" in row] == []
    assert len(messages_table().splitlines()) == 2 + sum(map(len, DIRECTIONS.values()))
    assert len(reasons_table().splitlines()) == 2 + len(ENUM_VALUES)
