"""Tables of what the scenario scripts show, for ``docs/exchange-messages.md``."""

from __future__ import annotations

import functools
import pathlib

from smarkets_pool.exchange.faults import FAULTS
from tests.rig.scenario.coverage import CASES, DIRECTIONS, ENUM_VALUES, how_to_see, how_to_see_value
from tests.rig.scenario.language import Script, script_at
from tests.rig.scenario.messages import ENUMS, KINDS

__all__ = ["cases_table", "messages_table", "reasons_table", "scripts_that_show"]

_FOLDER = pathlib.Path(__file__).parent.parent.parent / "scenarios"
_WAYS = {">": "client to exchange", "<": "exchange to client"}
_SHOWN = 2
_WIDTH = 70


@functools.cache
def _scripts() -> list[Script]:
    return [script_at(path) for path in sorted(_FOLDER.glob("*.session"))]


def scripts_that_show(claim: str, *, direction: str = "", tested: str = "exchange") -> list[Script]:
    """Those whose head claims it, the most specific first; with a direction those that say it so."""
    found = [
        script
        for script in _scripts()
        if claim in script.head.shows
        and (not tested or tested in script.head.tests)
        and (not direction or how_to_see(script, direction, claim.partition(".")[2]) is not None)
    ]
    return sorted(found, key=lambda script: (len(script.head.shows), script.name))


def messages_table() -> str:
    """Every message in each direction that it has, what brings it about, and scripts that show it."""
    rows = []
    for kind in KINDS.values():
        for direction in DIRECTIONS[kind.name]:
            found = scripts_that_show(kind.name, direction=direction)
            line = how_to_see(found[0], direction, kind.short) if found else None
            about = f"`{_shortened(line)}`" if line else ""
            rows.append([f"`{kind.name}`", _WAYS[direction], about, _links(found)])
    return _table(["message", "direction", "for instance by", "scripts"], rows)


def reasons_table() -> str:
    """Every value of every enum, what brings it about, and scripts whose messages have it."""
    rows = []
    for enum, values in ENUMS.items():
        for value in values:
            if f"{enum}.{value}" in ENUM_VALUES:
                found = scripts_that_show(f"{enum}.{value}")
                lines = how_to_see_value(found[0], enum, value) if found else []
                about = ", then ".join(f"`{_shortened(line, 2 * _WIDTH)}`" for line in lines)
                rows.append([f"`{enum}`", value, about, _links(found)])
    return _table(["enum", "value", "for instance by", "scripts"], rows)


def cases_table() -> str:
    """Every fault, reference transcript and case of numbers, with scripts that show it on either side."""
    claims = [*(f"fault {name}" for name in FAULTS), *CASES]
    rows = [[claim, _links(scripts_that_show(claim, tested=""))] for claim in claims]
    return _table(["shown", "scripts"], rows)


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [f"| {' | '.join(cells)} |" for cells in [head, *rows]]
    lines.insert(1, "|" + "---|" * len(head))
    return "\n".join(lines) + "\n"


def _links(scripts: list[Script]) -> str:
    return ", ".join(
        f"[{script.name.removesuffix('.session')}](../tests/scenarios/{script.name})"
        for script in scripts[:_SHOWN]
    )


def _shortened(text: str, width: int = _WIDTH) -> str:
    return text if len(text) <= width else text[:width].rsplit(" ", 1)[0] + " ..."
