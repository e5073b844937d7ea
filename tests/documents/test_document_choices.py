"""docs/choices.md names every open question and every setting that answers one."""

from __future__ import annotations

import dataclasses
import pathlib
import re

from smarkets_pool.exchange import ExchangeSettings

TEXT = (pathlib.Path(__file__).parents[2] / "docs" / "choices.md").read_text()
ROWS = {
    int(number): settings
    for number, settings in re.findall(r"^\| (\d+) \|.*\|([^|]*)\|$", TEXT, re.MULTILINE)
}
FIELDS = {field.name for field in dataclasses.fields(ExchangeSettings)}


def test_every_question_has_its_row() -> None:
    """Forty of them, in order."""
    assert list(ROWS) == list(range(1, 41))


def test_every_setting_named_there_exists() -> None:
    """So that nobody looks for one in vain."""
    named = {name for row in ROWS.values() for name in re.findall(r"`(\w+)`", row)}
    assert sorted(named - FIELDS) == []


def test_every_setting_that_answers_a_question_stands_in_its_row() -> None:
    """A field's text says which choice it is; the row of that number names the field."""
    text = ExchangeSettings.__doc__ or ""
    for name, said in re.findall(
        r"^    (\w+): (.*?)(?=^    \w+:|^\S|\n\n|\Z)", text, re.MULTILINE | re.DOTALL
    ):
        for numbers in re.findall(r"choices?\s+([\d and]+)", said):
            for number in re.findall(r"\d+", numbers):
                assert f"`{name}`" in ROWS[int(number)], f"choice {number} does not name {name}"
