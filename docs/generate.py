"""The parts of the documents that are made from the code: ``make docs`` writes them again.

Such a part stands between two comments, ``<!-- made by docs/generate.py: NAME -->`` and
``<!-- end of NAME -->``, and NAME is a key of ``PARTS``. A test compares each with what is made here, so
that a change of the code shows in the documents. For a new part write a function that returns its
Markdown, name it in ``PARTS``, put both comments where it belongs and run ``make docs``.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pathlib
import re
import sys
import textwrap
from collections.abc import Callable
from typing import Any

import click

from smarkets_pool import Account, Pool, eto, seto
from smarkets_pool.cli.main import cli
from smarkets_pool.config import TABLES
from smarkets_pool.config.keys import field_texts
from smarkets_pool.exchange import ActivitySettings, EmbeddedExchange, ExchangeSettings
from smarkets_pool.exchange.control import Control
from smarkets_pool.exchange.faults import FAULTS, Parameter
from smarkets_pool.exchange.flood import MESSAGES, Flood
from smarkets_pool.pool.delivery import LIFECYCLE, MARKET_NAMES, NEVER_DELIVERED
from smarkets_pool.protocol import State
from smarkets_pool.protocol.states import TRANSITIONS
from smarkets_pool.session import SessionSettings
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


def lifecycle() -> str:
    """What the deliveries of a member's life carry."""
    rows = ["| name | class | fields | what |", "|---|---|---|---|"]
    for name, cls in LIFECYCLE.items():
        fields = ", ".join(f"`{field.name}`" for field in dataclasses.fields(cls))
        what = _sentence(" ".join(inspect.cleandoc(cls.__doc__ or "").split()))
        rows.append(f"| `{name}` | `{cls.__name__}` | {fields} | {what} |")
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


def configuration_keys() -> str:
    """Every table and key of a configuration file."""
    parts = []
    for heading, keys in TABLES.items():
        parts += [f"### {heading}", "", "| key | default | what |", "|---|---|---|"]
        parts += [
            f"| `{key.name}` | {_cell(key.default)} | {_KINDS[key.kind]}{key.text} |" for key in keys.values()
        ]
        parts.append("")
    return "\n".join(parts).rstrip() + "\n"


_KINDS = {
    "file": "a file, relative to this one: ",
    "secret file": "a file, relative to this one: ",
    "secret": "",
    "numbers": "a list: ",
    "table": "a table: ",
    "policy": "",
    "text": "",
    "host": "",
    "flag": "",
    "port": "",
}


def python_settings() -> str:
    """The arguments of what a program makes itself."""
    parts = []
    for title, made in (
        ("`Account(...)`", Account),
        ("`SessionSettings(...)`", SessionSettings),
        ("`Pool(...)`", Pool),
        ("`EmbeddedExchange(...)`", EmbeddedExchange),
    ):
        texts = field_texts(_arguments_of(made))
        parts += [f"### {title}", "", "| argument | default | what |", "|---|---|---|"]
        for name, parameter in inspect.signature(made).parameters.items():
            if name in texts:
                default = "" if parameter.default is parameter.empty else f"`{parameter.default!r}`"
                parts.append(f"| `{name}` | {default} | {_sentence(texts[name])} |")
        parts.append("")
    return "\n".join(parts).rstrip() + "\n"


def _arguments_of(made: type) -> str:
    """The section ``Args:`` of a class's docstring, without its indentation."""
    section = inspect.cleandoc(made.__doc__ or "").partition("Args:\n")[2]
    return textwrap.dedent(section.partition("\n\n")[0])


def exchange_settings() -> str:
    """The fields of ``ExchangeSettings``."""
    return _fields(ExchangeSettings)


def activity_settings() -> str:
    """The fields of ``ActivitySettings``."""
    return _fields(ActivitySettings)


def flood_settings() -> str:
    """The fields of ``Flood``, and the messages it can have."""
    messages = ", ".join(f"`{name}`" for name in MESSAGES)
    return f"{_fields(Flood)}\nMessages: {messages}.\n"


def _fields(settings: Any) -> str:
    texts = field_texts(settings.__doc__ or "")
    rows = ["| field | default | what |", "|---|---|---|"]
    for field in dataclasses.fields(settings):
        rows.append(f"| `{field.name}` | `{field.default!r}` | {_sentence(texts[field.name])} |")
    return "\n".join(rows) + "\n"


def control_commands() -> str:
    """Everything that the control of an exchange can be asked."""
    rows = ["| command | kind | does |", "|---|---|---|"]
    for command in Control(EmbeddedExchange(accounts=1, tls=False)).commands.values():
        rows.append(f"| `{command.usage}` | {command.kind} | {_sentence(command.text)} |")
    return "\n".join(rows) + "\n"


def exchange_faults() -> str:
    """Every fault with its parameters."""
    rows = ["| fault | parameters | what happens |", "|---|---|---|"]
    for kind in FAULTS.values():
        words = []
        for parameter in kind.parameters:
            # Whose connections are meant is the same for all of them.
            text = "" if parameter.kind == "account" else f": {_sentence(parameter.text)}"
            words.append(f"`{_written_parameter(parameter)}`{text}")
        rows.append(f"| `{kind.name}` | {'<br>'.join(words)} | {_sentence(kind.text)} |")
    return "\n".join(rows) + "\n"


def _written_parameter(parameter: Parameter) -> str:
    if parameter.is_required or parameter.default is None:
        return parameter.name
    return f"{parameter.name}={parameter.in_text(parameter.default)}"


def commands() -> str:
    """The options of every command."""
    parts = []
    context = click.Context(cli)
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        parts += [
            f"### smarkets-pool {name}",
            "",
            (command.help or "").replace("\n\n", "\n").split("\n")[0],
            "",
        ]
        parts += ["| option | default | what |", "|---|---|---|"]
        for option in command.params:
            if isinstance(option, click.Option) and not option.hidden:
                words = ", ".join(f"`{word}`" for word in option.opts)
                shown = option.show_default and option.default is not None and not option.is_flag
                parts.append(
                    f"| {words} | {option.default if shown else ''} | {_sentence(option.help or '')} |"
                )
        parts.append("")
    return "\n".join(parts).rstrip() + "\n"


def exchange_messages() -> str:
    """Every message in each direction that it has, and the scenario scripts that show it."""
    return _tables().messages_table()


def exchange_reasons() -> str:
    """Every value of every enum, and the scenario scripts that show it."""
    return _tables().reasons_table()


def exchange_cases() -> str:
    """Every fault, reference transcript and case of numbers, and the scenario scripts that show it."""
    return _tables().cases_table()


def _tables() -> Any:
    # The scripts and what reads them are tests, and not part of the package.
    if str(DOCS.parent) not in sys.path:
        sys.path.insert(0, str(DOCS.parent))
    return importlib.import_module("tests.rig.scenario.tables")


def _sentence(text: str) -> str:
    return text.replace("``", "`").rstrip(".")


def _cell(default: str) -> str:
    plain = default.replace(".", "").replace('"', "").replace("_", "")
    return f"`{default}`" if plain.isalnum() or default == "[]" else default


def _code(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


PARTS: dict[str, Callable[[], str]] = {
    "session-states": session_states,
    "payload-names": payload_names,
    "schema-names": schema_names,
    "lifecycle": lifecycle,
    "configuration-keys": configuration_keys,
    "python-settings": python_settings,
    "exchange-settings": exchange_settings,
    "activity-settings": activity_settings,
    "flood-settings": flood_settings,
    "control-commands": control_commands,
    "exchange-faults": exchange_faults,
    "commands": commands,
    "exchange-messages": exchange_messages,
    "exchange-reasons": exchange_reasons,
    "exchange-cases": exchange_cases,
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
