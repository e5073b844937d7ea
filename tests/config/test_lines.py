"""Where a value stands in a file: every kind of statement, and files made up at random."""

from __future__ import annotations

import json
import pathlib
import sys
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from smarkets_pool.config import problems
from smarkets_pool.config.problems import Locator, Path, Problem, Problems, parse

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def lines_of(text: str, *paths: Path) -> list[int | None]:
    """What the locator says about each path; the text must be TOML."""
    tomllib.loads(text)
    locator = Locator(text)
    return [locator.line_of(path) for path in paths]


# --- statements by hand ---------------------------------------------------------------------------


def test_keys_belong_to_the_heading_above_them() -> None:
    """Top-level keys, tables, tables in tables; comments, blank lines and indentation count for nothing."""
    text = """
# a comment = 1
first = 1   # [not.a.heading]

[table]     # a heading with a comment
  second = 2

    [table.inner]
\tthird = 3
"""
    assert lines_of(
        text, ("first",), ("table",), ("table", "second"), ("table", "inner"), ("table", "inner", "third")
    ) == [3, 5, 6, 8, 9]


def test_a_dotted_key_says_every_table_on_its_way() -> None:
    """``a.b.c = 1`` is where a, a.b and a.b.c begin; a later one of the same table adds to it."""
    text = 'a.b.c = 1\na.b.d = 2\n[t]\n"x y".z = 3\n'
    assert lines_of(
        text, ("a",), ("a", "b"), ("a", "b", "c"), ("a", "b", "d"), ("t", "x y"), ("t", "x y", "z")
    ) == [1, 1, 1, 2, 4, 4]


def test_an_inline_table_stands_on_one_line_with_all_that_is_in_it() -> None:
    """Also tables in tables, and what looks like a comment or a table's end in a text."""
    text = '[t]\np = { env = "A # }", q = { r = [1, 2] } }\ns = {}\n'
    assert lines_of(
        text, ("t", "p"), ("t", "p", "env"), ("t", "p", "q"), ("t", "p", "q", "r"), ("t", "s")
    ) == [2, 2, 2, 2, 3]


def test_an_array_over_many_lines_is_where_it_begins() -> None:
    """Comments, brackets in texts and inner arrays in it do not end it; the next statement is found."""
    text = """a = [
  1,  # ]
  "]", [2,
  3],
  # b = 1
]
b = [ [
] ]
c = 4
"""
    assert lines_of(text, ("a",), ("b",), ("c",)) == [1, 7, 9]


@pytest.mark.parametrize("quotes", ['"""', "'''"])
def test_a_text_over_many_lines_is_where_it_begins(quotes: str) -> None:
    """What looks like statements inside it is none."""
    text = f"a = {quotes}\n[b]\nc = 1\n# {quotes[:2]}\n]\n}}\n{quotes}\nc = 2\n[b]\nc = 3\n"
    assert lines_of(text, ("a",), ("c",), ("b",), ("b", "c")) == [1, 8, 9, 10]


def test_an_array_of_tables_is_where_its_first_heading_is() -> None:
    """``[[a]]`` twice: paths do not tell them apart, and keys are the first's that has them."""
    text = "[[a]]\nb = 1\n[[a]]\nb = 2\nc = 3\n[a.d]\ne = 4\n"
    assert lines_of(text, ("a",), ("a", "b"), ("a", "c"), ("a", "d"), ("a", "d", "e")) == [1, 2, 5, 6, 7]


def test_names_may_be_quoted() -> None:
    """Dots, brackets, line ends as escapes, quotes and nothing at all in a name."""
    text = '["a.b"]\n\'c"d\' = 1\n[x."y]z"]\n"" = 2\n"e\\nf" = 3\n'
    assert lines_of(text, ("a.b",), ("a.b", 'c"d'), ("x", "y]z"), ("x", "y]z", ""), ("x", "y]z", "e\nf")) == [
        1,
        2,
        3,
        4,
        5,
    ]


def test_what_is_not_there_is_where_its_nearest_table_is() -> None:
    """A key that is missing belongs to its table's line; without any table it belongs to the file."""
    text = "[a]\n\n[a.b]\nc = 1\n"
    assert lines_of(text, ("a", "b", "d"), ("a", "x", "y"), ("z",), ()) == [3, 1, None, None]


def test_a_later_heading_of_an_outer_table_does_not_move_it() -> None:
    """[a.b] is where a is said first, although [a] has a heading of its own below."""
    assert lines_of("[a.b]\nc = 1\n[a]\nd = 2\n", ("a",), ("a", "b"), ("a", "d")) == [1, 1, 4]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", [True, False], ids=["final newline", "none"])
def test_the_ends_of_lines_do_not_matter(end: str, last: bool) -> None:
    """Unix and Windows, with and without an end of the last line."""
    text = end.join(["# c", "a = [", "1]", "[b]", 'c = """', "x", '"""', "d = 1"]) + end * last
    assert lines_of(text, ("a",), ("b",), ("b", "c"), ("b", "d")) == [2, 4, 5, 8]


@pytest.mark.parametrize("strange", ["\u2028", "\u2029", "\x85"])
def test_other_line_ends_of_unicode_are_no_line_ends(strange: str) -> None:
    """In comments, texts and names; nothing behind them is taken for a statement."""
    text = f'# a{strange}c = 1\na = "b{strange}d"\n"n{strange}m" = 1\nc = 2\n'
    assert lines_of(text, ("a",), ("c",), (f"n{strange}m",)) == [2, 4, 3]


# --- files made up at random ----------------------------------------------------------------------

NAME = st.text(
    st.characters(exclude_categories=("Cs",), include_characters='"\\\n\u2028.[]#='), max_size=6
) | st.text("abcAB12-_", min_size=1, max_size=4)


@st.composite
def key_of(draw: Any, name: str) -> str:
    """A name as a key: bare where that can be, quoted otherwise."""
    plain = name.isascii() and name.replace("-", "").replace("_", "").isalnum()
    if plain and draw(st.booleans()):
        return name
    # A TOML text forbids what JSON escapes, and DEL.
    return json.dumps(name, ensure_ascii=draw(st.booleans()) and name.isascii()).replace("\x7f", "\\u007f")


COMMENT = st.sampled_from(["# comment", "# [a]", "  # b = 1", "", "   ", "# ]", '# """', "\t# \u2028x = 1"])
INNER_LINES = st.lists(
    st.sampled_from(["x", "[a]", "b = 1", "# c", "]", "}", "'", "", "  y = ["]), min_size=1, max_size=4
)


SINGLE = ["1", "true", "1.5", "1979-05-27", '"x # ]"', "'[a]'", "[]", "{}", '"\u2028"']


@st.composite
def value(draw: Any) -> list[str]:
    """A value, as the lines it takes."""
    kind = draw(st.sampled_from(["single", "basic", "literal", "array", "nested", "text array"]))
    if kind == "single":
        return [
            draw(
                st.sampled_from(
                    ["1", "true", "1.5", "1979-05-27", '"x # ]"', "'[a]'", "[]", "{}", '"\u2028"']
                )
            )
        ]
    inner = draw(INNER_LINES)
    if kind == "basic":
        return ['"""', *inner, '"""']
    if kind == "literal":
        return ["'''", *[line.replace("'", "") for line in inner], "'''  # end"]
    if kind == "array":
        return ["[", *[draw(st.sampled_from(["1,", "# ]", "", "2, 3, # x"])) for _ in inner], "]"]
    if kind == "nested":
        return ["[ [1,", "2], [", "], 3 ]"]
    return ["['''", *[line.replace("'", "") for line in inner], "''', 1", "]"]


@st.composite
def files(draw: Any) -> tuple[str, dict[Path, int]]:
    """A TOML text, and the line of each of its keys and headings."""
    lines: list[str] = []
    where: dict[Path, int] = {}

    def say(statement: list[str], path: Path, under: Path = ()) -> None:
        for length in range(len(under) + 1, len(path) + 1):
            where.setdefault(path[:length], len(lines) + 1)
        lines.extend(statement)

    def fill(table: Path) -> None:
        for name in draw(st.lists(NAME, unique=True, max_size=3)):
            lines.extend(draw(st.lists(COMMENT, max_size=2)))
            path = (*table, name)
            key = draw(key_of(name))
            if draw(st.booleans()):
                inner = draw(NAME)
                path, key = (*path, inner), f"{key} . {draw(key_of(inner))}"
            first, *rest = draw(value())
            say([f"{draw(st.sampled_from(['', '  ']))}{key} = {first}", *rest], path, table)

    fill(())
    for _ in range(draw(st.integers(0, 3))):
        table = tuple(draw(st.lists(NAME, min_size=1, max_size=3)))
        keys = [draw(key_of(name)) for name in table]
        lines.extend(draw(st.lists(COMMENT, max_size=2)))
        say([f"[{'.'.join(keys)}]  # heading"], table)
        fill(table)
    end = draw(st.sampled_from(["\n", "\r\n"]))
    return end.join(lines) + draw(st.sampled_from([end, ""])), where


@given(files())
def test_in_any_file_everything_is_where_its_statement_begins(made: tuple[str, dict[Path, int]]) -> None:
    """Whatever stands in a file and however it is written."""
    text, where = made
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        assume(False)  # a name was drawn twice
    locator = Locator(text)
    assert {path: locator.line_of(path) for path in where} == where


# --- texts that are no TOML -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line", "hint"),
    [
        ("a = 1\nb = localhost\n", 2, "a text needs quotes"),
        ('a = 1\nb = "x\nc = 2\n', 2, "a closing quote may be missing"),
        ("a = 1\na = 2\n", 2, "this key stands here twice"),
        ("[a]\nb = 1\n[c]\n[a]\n", 4, "put it all under one of the two headings"),
        ('a = "C:\\data"\n', 1, "in single quotes a backslash is just that"),
        ("a = 1\nb 2\n", 2, ""),
        ("a = 1\n\n[a\nb = 1\n", 3, ""),
        ("[a]\n\nb = [1,\n2,\n\n", 3, ""),
        ('[a]\nb = """x\ny = 1\n', 2, ""),
        ("[a]\nb = 1\n[c", 3, ""),
    ],
)
def test_the_line_and_what_was_likely_meant_are_told(text: str, line: int, hint: str) -> None:
    """A mistake of a person is told with its line, and with a hint where it is a common one."""
    data, problem = parse(text)
    assert data == {}
    assert problem is not None
    assert problem.line == line
    assert problem.text.startswith("this is no TOML: ")
    assert problem.text.endswith(hint)


def test_in_a_long_file_an_end_that_is_missing_is_told_at_the_end() -> None:
    """Its beginning is looked for in short files only: each line could be the end, and is tried."""
    _, problem = parse('a = """' + "[x]\n" * 1000)
    assert problem is not None and problem.line == 1001


@pytest.mark.parametrize(
    "text", ["a = " + "9" * 5000, "a = " + "[" * 5000 + "]" * 5000], ids=["digits", "depth"]
)
def test_what_the_parser_cannot_bear_is_a_problem_too(text: str) -> None:
    """A number of 5,000 digits and brackets 5,000 deep raise nothing."""
    _, problem = parse(text)
    assert problem is not None and problem.text.startswith("this is no TOML: ")


# --- problems -------------------------------------------------------------------------------------


def test_problems_come_in_the_order_of_the_file() -> None:
    """Whatever the order in which they were found; those of the file as a whole come first."""
    found = Problems("a = 1\nb = 2\n[c]\n'd e' = 3\n")
    for path in (("c", "d e"), ("b",), ("x",), ("a",)):
        found.add(path, "no")
    assert list(map(str, found.in_order())) == [
        "x: no",
        "line 1, a: no",
        "line 2, b: no",
        'line 4, c."d e": no',
    ]
    assert str(Problem(None, "", "the whole")) == "the whole"


def test_a_name_cannot_break_its_line() -> None:
    """Line ends and escape sequences in a name are shown as what they are."""
    found = Problems("")
    found.add(("a\nb", "\x1b[31m"), "no")
    assert str(found.in_order()[0]) == '"a\\nb"."\\u001b[31m": no'


class Counted:
    """The TOML parser, counting what it is given."""

    TOMLDecodeError = tomllib.TOMLDecodeError

    def __init__(self) -> None:
        self.calls = self.characters = 0

    def loads(self, text: str) -> dict[str, Any]:
        self.calls += 1
        self.characters += len(text)
        return tomllib.loads(text)


@pytest.mark.parametrize(
    "text",
    [
        "".join(f'[accounts.a{n}]\nusername = "u{n}"\npassword = "p"\n' for n in range(2000)),
        "markets = [\n" + "".join(f"  {n},  # [\n" for n in range(5000)) + "]\n",
        "text = '''\n" + "a = [\n" * 5000 + "'''\n",
        "# comment\n" * 5000 + "a = 1\n",
    ],
    ids=["accounts", "an array", "a text", "comments"],
)
def test_finding_lines_costs_what_the_file_is_long(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Every statement is parsed twice at most, however long the file or one statement is."""
    counted = Counted()
    monkeypatch.setattr(problems, "tomllib", counted)
    locator = Locator(text)
    assert [locator.line_of(("x",)) for _ in range(1000)] == [None] * 1000
    assert counted.characters <= 2 * len(text) + 100
    assert counted.calls <= text.count("\n") + 1


def test_a_file_with_a_byte_order_mark_is_read(tmp_path: pathlib.Path) -> None:
    """Editors of Windows write one; the first line is line 1."""
    from smarkets_pool.config import read

    path = tmp_path / "pool.toml"
    path.write_bytes("\ufeffx = 1\r\n[pool]\r\nstore = 5\r\n".encode())
    assert [problem.line for problem in read(path).problems] == [None, 1, 3]
