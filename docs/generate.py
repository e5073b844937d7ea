"""The parts of the documents that are made from the code: ``make docs`` writes them again.

Such a part stands between two comments, ``<!-- made by docs/generate.py: NAME -->`` and
``<!-- end of NAME -->``, and NAME is a key of ``PARTS``. A test compares each with what is made here, so
that a change of the code shows in the documents. For a new part write a function that returns its
Markdown, name it in ``PARTS``, put both comments where it belongs and run ``make docs``.
"""

from __future__ import annotations

import pathlib
import re
from collections.abc import Callable

from smarkets_pool import eto, seto
from smarkets_pool.pool.delivery import MARKET_NAMES, NEVER_DELIVERED
from smarkets_pool.protocol import State
from smarkets_pool.protocol.states import TRANSITIONS
from smarkets_pool.wire.payloads import MESSAGE_CLASSES, PAYLOAD_NAMES

DOCS = pathlib.Path(__file__).parent

_PART = re.compile(
    r"(?P<head><!-- made by docs/generate\.py: (?P<name>[\w-]+) -->\n)"
    r".*?(?P<tail><!-- end of (?P=name) -->)",
    re.DOTALL,
)


def session_states() -> str:
    """The states of ``protocol/states.py``, and a diagram with every legal change."""
    lines = ["| state | meaning |", "|---|---|"]
    lines += [f"| `{state.name}` | {state.value} |" for state in State]
    lines += ["", "```mermaid", "stateDiagram-v2", f"    [*] --> {State.NEW.name}"]
    for state, changes in TRANSITIONS.items():
        lines += [f"    {state.name} --> {after.name}: {cause.value}" for cause, after in changes.items()]
    return "\n".join([*lines, f"    {State.CLOSED.name} --> [*]", "```"]) + "\n"


def payload_names() -> str:
    """Every payload name with its message, who sends it, and what can be told from it."""
    rows = [
        "| name | message | a handler gets it | account's number | `market_ids` filter |",
        "|---|---|---|---|---|",
    ]
    for name in PAYLOAD_NAMES:
        message = MESSAGE_CLASSES.get(name)
        fields = message.DESCRIPTOR.fields_by_name if message is not None else {}
        cells = [
            f"`{name}`",
            "" if message is None else f"`{name.split('.')[0]}.{message.__name__}`",
            "no, we send it" if name in NEVER_DELIVERED else "yes",
            "yes" if "account_sequence_64" in fields and name != "seto.login" else "",
            "yes" if name in MARKET_NAMES and name not in NEVER_DELIVERED else "",
        ]
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows) + "\n"


def schema_names() -> str:
    """Every message, enum and constant of both layers: the SDK's names and ours are the same."""
    rows = []
    for short, module in (("eto", eto), ("seto", seto)):
        messages = sorted(module.DESCRIPTOR.message_types_by_name)
        rows += [
            f"| `smarkets.streaming_api.{short}` | `smarkets_pool.{short}` | what it is |",
            "|---|---|---|",
            f"| {_code(messages)} | the same | {len(messages)} messages |",
        ]
        for name, enum in sorted(module.DESCRIPTOR.enum_types_by_name.items()):
            constants = [value.name for value in enum.values]
            rows.append(
                f"| {_code([name, *constants])} | the same | an enum and its {len(constants)} constants |"
            )
        rows.append("| `DESCRIPTOR` | the same | the file's descriptor; its package is ours |\n")
    return "\n".join(rows).rstrip("\n") + "\n"


def _code(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


PARTS: dict[str, Callable[[], str]] = {
    "session-states": session_states,
    "payload-names": payload_names,
    "schema-names": schema_names,
}


def with_parts(text: str) -> str:
    """A document's text with its parts made again."""
    return _PART.sub(lambda part: f"{part['head']}\n{PARTS[part['name']]()}\n{part['tail']}", text)


def parts_of(text: str) -> list[str]:
    """The names of the parts that a document has."""
    return [part["name"] for part in _PART.finditer(text)]


def main() -> None:
    """Write every part of every document in this folder again."""
    for document in sorted(DOCS.glob("*.md")):
        text = document.read_text()
        made = with_parts(text)
        if made != text:
            document.write_text(made)


if __name__ == "__main__":
    main()
