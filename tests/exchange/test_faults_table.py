"""The table of faults: its text form, its checks and its errors, and that Python has a method for each."""

from __future__ import annotations

import inspect
import re

import pytest

from smarkets_pool import eto
from smarkets_pool.exceptions import UsageError
from smarkets_pool.exchange.faults import FAULTS, Faults, parse_fault
from tests.rig.peers import Floor

#: What has to be named; everything else has a default.
REQUIRED = {"account"}


@pytest.mark.parametrize("name", FAULTS)
def test_python_has_a_method_with_the_tables_parameters(name: str) -> None:
    """Each fault is a method of ``Faults`` with the same parameters and the same defaults."""
    kind = FAULTS[name]
    arguments = dict(inspect.signature(getattr(Faults, name)).parameters)
    del arguments["self"]
    arguments.pop("until", None)  # an absolute spelling of seconds
    assert list(arguments) == [parameter.name for parameter in kind.parameters] or set(arguments) == {
        parameter.name for parameter in kind.parameters
    }
    for parameter in kind.parameters:
        default = arguments[parameter.name].default
        assert (default is inspect.Parameter.empty) == parameter.is_required
        if not parameter.is_required:
            assert default == parameter.default


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_says_what_it_does(name: str) -> None:
    """The sentences of the table are plain ones, for documents and help."""
    kind = FAULTS[name]
    assert re.fullmatch(r"[a-z].*[a-z]", kind.text)
    assert all(parameter.text[0].islower() for parameter in kind.parameters)
    assert {parameter.name for parameter in kind.parameters if parameter.is_required} <= REQUIRED


@pytest.mark.parametrize("name", FAULTS)
def test_the_shortest_text_is_enough(name: str) -> None:
    """A name and, where it is about somebody, an account; all else has a default."""
    words = " account=ann" if "account" in [p.name for p in FAULTS[name].parameters] else ""
    fault = parse_fault(name + words)
    assert str(fault) == name + words
    assert list(fault.values) == [parameter.name for parameter in FAULTS[name].parameters]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        (
            "drop account=ann frames=3 names=eto.heartbeat,seto.market_quotes probability=0.25",
            {
                "account": "ann",
                "frames": 3,
                "names": ("eto.heartbeat", "seto.market_quotes"),
                "probability": 0.25,
            },
        ),
        (
            "cut account='*' where=inside away=2.5 names=*",
            {"account": "*", "where": "inside", "names": ("*",), "away": 2.5},
        ),
        (
            "refuse_login account=ann reason=downtime times=2",
            {"account": "ann", "reason": eto.LOGOUT_DOWNTIME, "seconds": None, "times": 2},
        ),
        ("refuse_login account=ann reason=LOGOUT_DOWNTIME", {"reason": eto.LOGOUT_DOWNTIME}),
        ("refuse_login account=ann reason=9", {"reason": eto.LOGOUT_DOWNTIME}),
        ("shorten_history account=ann events=0", {"events": 0}),
        ("restart keep=nothing away=1", {"keep": "nothing", "away": 1.0}),
        ("drop  account='a b'", {"account": "a b", "frames": 1}),
        ('drop account="o\'brien"', {"account": "o'brien"}),
    ],
)
def test_the_text_form(text: str, values: dict[str, object]) -> None:
    """Values come out as Python has them, and the text written from them reads the same again."""
    fault = parse_fault(text)
    assert {name: fault.values[name] for name in values} == values
    assert parse_fault(str(fault)) == fault


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "a fault needs a name, in ''; write it as 'drop account=ann frames=3'"),
        ("drp account=ann", "there is no fault 'drp'; did you mean drop? (there are drop, duplicate, "),
        ("drop", "drop lacks account: whose connections: a user name, or * for everybody's"),
        (
            "drop account=ann frame=2",
            "drop has no parameter 'frame'; did you mean frames? "
            "(it has account, frames, names and probability)",
        ),
        ("mass_disconnect account=ann", "mass_disconnect has no parameter 'account' (it has none)"),
        ("drop account=ann frames=x", "drop: frames is 'x' and must be a whole number from 1"),
        ("drop account=ann frames=0", "drop: frames is '0' and must be a whole number from 1"),
        (
            "drop account=ann frames=9999999999",
            "drop: frames is '9999999999' and must be a whole number from 1 to 1000000000",
        ),
        ("drop account=ann probability=2", "drop: probability is '2' and must be a number from 0 to 1"),
        ("delay account=ann seconds=nan", "delay: seconds is 'nan' and must be seconds from 0 to "),
        ("delay account=ann seconds=-1", "delay: seconds is '-1' and must be seconds from 0 to "),
        (
            "cut account=ann where=insde",
            "cut: where is 'insde' and must be now, before, inside or after; did you mean inside?",
        ),
        (
            "drop account=ann names=seto.order_acepted",
            "drop: names is 'seto.order_acepted' and must be payload names such as seto.order_accepted or "
            "eto.*; 'seto.order_acepted' is none; did you mean seto.order_accepted?",
        ),
        ("refuse_login account=ann reason=no", "refuse_login: reason is 'no' and must be one of NONE, "),
        ("restart keep=some", "restart: keep is 'some' and must be all or nothing"),
        ("drop ann", "drop: 'ann' is no parameter; write key=value, as in account=ann"),
        ("drop account=ann account=bob", "drop: account is there twice"),
        (
            "drop account='ann",
            'a fault cannot be read: No closing quotation, in "drop account=\'ann"; write ',
        ),
        ("drop account=", "drop: account is '' and must be a user name, or * for every account"),
    ],
)
def test_a_text_that_is_wrong_is_told(text: str, sentence: str) -> None:
    """The error names what was asked, what is wrong with it and what there is."""
    with pytest.raises(UsageError) as caught:
        parse_fault(text)
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"account": 7}, "drop: account is 7 and must be a user name"),
        ({"account": "ann", "frames": True}, "drop: frames is True and must be a whole number from 1"),
        ({"account": "ann", "frames": 1.5}, "drop: frames is 1.5 and must be a whole number from 1"),
        ({"account": "ann", "names": []}, "drop: names is [] and must be payload names, separated by commas"),
        ({"account": "ann", "probability": None}, "drop: probability is None and must be a number from 0"),
        ({"account": "bop"}, "no account here has the user name 'bop'; did you mean bob?"),
        ({"account": "xyz"}, "no account here has the user name 'xyz'; there are 2, ann the first"),
    ],
)
def test_plain_data_is_checked_too(arguments: dict[str, object], sentence: str) -> None:
    """What comes as JSON or from Python meets the same checks, and the account has to be there."""
    faults = Floor().exchange.faults
    with pytest.raises(UsageError) as caught:
        faults.inject("drop", **arguments)
    assert str(caught.value).startswith(sentence)
    assert faults.waiting() == []


def test_what_waits_can_be_seen_and_taken_back() -> None:
    """In the text form, oldest first; for one account or for all."""
    faults = Floor().exchange.faults
    faults.apply("drop account=ann frames=3")
    faults.skip("bob", 2)
    faults.refuse_login("*", "DOWNTIME", seconds=5)
    assert faults.waiting() == [
        "drop account=ann frames=3",
        "skip account=bob numbers=2",
        "refuse_login account=* reason=DOWNTIME seconds=5",
    ]
    assert faults.clear("ann") == 1
    assert faults.clear() == 2
    assert faults.waiting() == []


def test_what_is_over_waits_no_more() -> None:
    """A refusal for a while is gone when that is over, whether or not anybody was refused."""
    floor = Floor()
    floor.exchange.faults.refuse_login("ann", seconds=5)
    floor.exchange.faults.refuse_connection(seconds=3)
    assert len(floor.exchange.faults.waiting()) == 2
    floor.wait(3)
    assert floor.exchange.faults.waiting() == ["refuse_login account=ann seconds=5"]
    assert not floor.exchange.faults.refuses_connection()
    floor.wait(2)
    assert floor.exchange.faults.waiting() == []
