"""The control without its transport: commands in writing and as data, readings, what is wrong with either."""

import json
import re
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smarkets_pool.exceptions import UsageError
from smarkets_pool.exchange import EmbeddedExchange, ExchangeSettings
from smarkets_pool.exchange.control import Control, money_text
from smarkets_pool.exchange.control.arguments import fit, parse
from smarkets_pool.exchange.control.readings import message_data
from smarkets_pool.exchange.engine import VERBS
from smarkets_pool.exchange.faults import FAULTS
from smarkets_pool.wire.schema import seto_pb2 as seto

ANN, BOB = "ann@example.com", "bob@example.com"
MARKET, CONTRACT = 100_000, 200_000


@pytest.fixture
def exchange():
    """An exchange of two accounts that listens nowhere."""
    return EmbeddedExchange(accounts=[ANN, BOB], markets=2, tls=False)


@pytest.fixture
def control(exchange):
    """Its control."""
    return Control(exchange)


def place(exchange: EmbeddedExchange, account: str, side: int, price: int, quantity: int, **more: Any) -> int:
    """An order of an account; its id."""
    inner = exchange.exchange
    message = seto.OrderCreate(
        market_id=MARKET, contract_id=CONTRACT, side=side, price=price, quantity=quantity, **more
    )
    inner.request_without_session(inner.accounts[account], message, 7, exchange.now())
    return max(inner.accounts[account].orders)


def matched(exchange: EmbeddedExchange) -> tuple[int, int]:
    """Ann buys 100000 at 25 %, Bob sells her 40000 of it; the ids of both orders."""
    bid = place(exchange, ANN, seto.SIDE_BUY, 2500, 100_000, label="first", reference=5)
    ask = place(exchange, BOB, seto.SIDE_SELL, 2500, 40_000)
    return bid, ask


# --- money ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("points", "text"),
    [
        (0, "0.00"),
        (1, "0.00000001"),
        (-1, "-0.00000001"),
        (10**8, "1.00"),
        (-150_000_000, "-1.50"),
        (123_456_789, "1.23456789"),
        (10**20 + 1, "1000000000000.00000001"),
    ],
)
def test_money_is_told_to_the_last_digit(points, text):
    """At least two digits after the point, and as many as there are."""
    assert money_text(points) == text
    assert Decimal(money_text(points)).scaleb(8) == points


# --- commands in writing --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name", "arguments"),
    [
        ("truth", "truth", {}),
        ("  orders   account=ann ", "orders", {"account": "ann"}),
        ("settle market_id=1 winners=[2, 3]", "settle", {"market_id": 1, "winners": [2, 3]}),
        ("settle winners=[] market_id=1", "settle", {"winners": [], "market_id": 1}),
        ("deposit account=a amount=-12.50", "deposit", {"account": "a", "amount": "-12.50"}),
        ("x a=true b=false c=none d=null e=-0 f=007 g=1e5", "x", _ := {
            "a": True, "b": False, "c": None, "d": None, "e": 0, "f": "007", "g": "1e5",
        }),
        ('x a="two words" b="a=b"', "x", {"a": "two words", "b": "a=b"}),
        ("x a= b==", "x", {"a": "", "b": "="}),
        ("x a=é日本", "x", {"a": "é日本"}),
    ],
)  # fmt: skip
def test_a_command_in_writing_is_read(text, name, arguments):
    """A name, and values by what they look like."""
    assert parse(text) == (name, arguments)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "a command begins with its name"),
        ("   ", "a command begins with its name"),
        ("account=ann", "a command begins with its name.* not with 'account=ann'"),
        ("orders ann", "after orders come words of the form key=value, not 'ann'"),
        ("orders account=a account=b", "orders has account twice"),
        ("settle winners=[1", "the value of winners is no JSON"),
        ("settle winners=[1]x", "after the value of winners a space is missing"),
        ('x a="', "the value of a is no JSON"),
        ("x a=" + "[" * 100_000, "the value of a is no JSON"),
    ],
)
def test_a_command_that_cannot_be_read_says_why(text, sentence):
    """In one sentence, whatever it was."""
    with pytest.raises(UsageError, match=sentence):
        parse(text)


# --- arguments ------------------------------------------------------------------------------------


def every_kind(a: int, b: str = "", c: float = 0.0, d: bool = False, e: int | None = None) -> None:
    """A function with an argument of each kind."""


@pytest.mark.parametrize(
    ("given", "got"),
    [
        ({"a": 1}, {"a": 1}),
        ({"a": 1, "b": "x", "c": 1.5, "d": True, "e": 3}, {"a": 1, "b": "x", "c": 1.5, "d": True, "e": 3}),
        ({"a": 1, "b": 12}, {"a": 1, "b": "12"}),
        ({"a": 1, "c": 2}, {"a": 1, "c": 2.0}),
        ({"a": 1, "c": "2.5"}, {"a": 1, "c": 2.5}),
        ({"a": 1, "e": None}, {"a": 1, "e": None}),
    ],
)
def test_arguments_are_fitted(given, got):
    """A number where a text is wanted is its digits, a text that is a number will do for one with a point."""
    assert fit(every_kind, "x", given) == got


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, r"^x needs a: x a=\.\.\. \[b=\"\"\] \[c=0\.0\] \[d=false\] \[e=none\]$"),
        ({"a": 1, "aa": 2}, "^x has no argument 'aa'; did you mean a\\?$"),
        ({"a": 1, "zzz": 2}, "^x has no argument 'zzz'; there are a, b, c, d, e$"),
        ({"a": "1x"}, "^x: a is '1x' and must be a whole number$"),
        ({"a": 1.5}, "^x: a is 1.5 and must be a whole number$"),
        ({"a": True}, "^x: a is True and must be a whole number$"),
        ({"a": None}, "^x: a is None and must be a whole number$"),
        ({"a": 1, "b": [1]}, r"^x: b is \[1\] and must be a text$"),
        ({"a": 1, "b": True}, "^x: b is True and must be a text$"),
        ({"a": 1, "c": "many"}, "^x: c is 'many' and must be a number$"),
        ({"a": 1, "c": True}, "^x: c is True and must be a number$"),
        ({"a": 1, "c": float("nan")}, "^x: c is nan and must be a number with an end$"),
        ({"a": 1, "c": "inf"}, "^x: c is inf and must be a number with an end$"),
        ({"a": 1, "c": 10**400}, "^x: c is 10+ and must be a number$"),
        ({"a": 1, "d": 1}, "^x: d is 1 and must be true or false$"),
        ({"a": 1, "e": "x"}, "^x: e is 'x' and must be a whole number$"),
    ],
)
def test_arguments_that_do_not_fit_say_why(given, sentence):
    """The command, the argument, what it is and what it must be."""
    with pytest.raises(UsageError, match=sentence):
        fit(every_kind, "x", given)


# --- the table ------------------------------------------------------------------------------------


def test_every_fault_and_verb_is_a_command(control):
    """And each command has a kind, a way to write it and a sentence; no name is there twice."""
    commands = control.commands
    assert {name for name, command in commands.items() if command.kind == "verb"} == set(VERBS)
    assert {name for name, command in commands.items() if command.kind == "fault"} == set(FAULTS)
    assert not set(VERBS) & set(FAULTS)
    for name, command in commands.items():
        assert command.name == name
        assert command.usage.split()[0] == name
        assert command.text
    assert commands["settle"].usage == "settle market_id=... winners=..."
    assert commands["drop"].usage == "drop account=... [frames=1] [names=seto.*] [probability=1.0]"
    assert "[reason=SERVICE_TEMPORARILY_UNAVAILABLE]" in commands["refuse_login"].usage
    assert repr(control).startswith("<Control of <EmbeddedExchange ")


def test_every_usage_can_be_read(control):
    """What stands in brackets is written as a command takes it."""
    for command in control.commands.values():
        text = command.usage.replace("[", "").replace("]", "").replace("=...", "=1")
        assert parse(text)[0] == command.name


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (5, "a command is a table with 'do', not int"),
        ([], "a command is a table with 'do', not list"),
        (None, "a command is a table with 'do', not NoneType"),
        ({}, "a command says in 'do' what to do"),
        ({"do": 5}, "a command says in 'do' what to do"),
        ({"do": "ordrs"}, "there is no command 'ordrs'; did you mean orders?"),
        ({"do": "orders", "acount": "a"}, "orders has no argument 'acount'; did you mean account?"),
        ({"do": "orders", "account": "nobody"}, "no account here has the user name 'nobody'"),
        ({"do": "orders", "market_id": 7}, "there is no market 7; there are 100000, 100001"),
        ({"do": "orders", "market_id": 10_000}, "there is no market 10000; there are 100000"),
        ({"do": "events"}, "events needs account"),
        ({"do": "events", "account": ANN, "after": -1}, "after and limit are whole numbers from 0"),
        ({"do": "books", "depth": -1}, "depth is a whole number from 0, not -1"),
        ({"do": "books", "contract_id": 5}, "there is no contract 5"),
        ({"do": "books", "contract_id": 5, "market_id": MARKET}, "there is no contract 5 in market 100000"),
        ({"do": "settle", "market_id": 1, "winners": []}, "there is no market 1"),
        ({"do": "settle", "market_id": "x", "winners": []}, "settle: market_id is 'x' and must be a whole"),
        ({"do": "settle", "market_id": MARKET, "winners": 5}, "settle: winners is 5 and must be a list"),
        (
            {"do": "settle", "market_id": MARKET, "winners": ["x"]},
            "winners, each of it is 'x' and must be a whole",
        ),
        (
            {"do": "tell", "account": ANN, "name": "order_reduced", "fields": []},
            "fields is [] and must be a table",
        ),
        ({"do": "deposit", "account": ANN, "amount": 1.5}, "deposit: amount is 1.5 and must be a text"),
        ({"do": "drop"}, "account"),
        ({"do": "drop", "account": "ann@example.co"}, f"did you mean {ANN}?"),
        ({"do": "drop", "account": ANN, "frames": 0}, "frames is 0 and must be"),
        ({"do": "cut", "account": "nobody"}, "no account here has the user name 'nobody'"),
        ({"do": "cut", "account": "nobody", "inside": True}, "no account here has the user name 'nobody'"),
        ({"do": "log_out", "account": ANN, "reason": "BORED"}, "BORED"),
        ({"do": "begin_downtime", "after": -1}, "-1"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(control, command, sentence):
    """Nothing is raised, and nothing is changed."""
    before = control.do("counters", {})
    answer = control.execute(command)
    assert answer["ok"] is False
    assert sentence in answer["error"]
    assert control.do("counters", {}) == before
    assert control.do("armed", {}) == []


def test_a_line_of_json_is_a_command(control):
    """Whatever else it is gets a sentence."""
    assert control.execute_line(b'{"do": "armed"}') == {"ok": True, "value": []}
    for line in (b"", b"{", b"\xff\xfe", b"[" * 100_000):
        answer = control.execute_line(line)
        assert answer["ok"] is False
        assert answer["error"].startswith("the command is no JSON: ")


# --- readings -------------------------------------------------------------------------------------


def test_orders_are_read(exchange, control):
    """Live ones and ended ones, of one account or market or of all."""
    bid, ask = matched(exchange)
    assert control.do_text(f"orders account={ANN}") == [
        {
            "order_id": bid,
            "account": ANN,
            "market_id": MARKET,
            "contract_id": CONTRACT,
            "side": "BUY",
            "price": 2500,
            "quantity": 100_000,
            "executed_quantity": 40_000,
            "executed_avg_price": 2500,
            "available_quantity": 60_000,
            "state": "live",
            "tif": "GOOD_TIL_CANCELLED",
            "label": "first",
            "reference": 5,
        }
    ]
    assert [order["order_id"] for order in control.do("orders", {})] == [bid, ask]
    assert [order["order_id"] for order in control.do("orders", {"live": True})] == [bid]
    assert control.do("orders", {"account": BOB})[0]["state"] == "filled"
    assert control.do("orders", {"market_id": MARKET + 1}) == []


def test_balances_are_exact(exchange, control):
    """To the last of eight digits, as texts; they add up."""
    place(exchange, ANN, seto.SIDE_BUY, 3333, 7)
    assert control.do("balances", {"account": ANN}) == [
        {"account": ANN, "cash": "10000.00", "exposure": "-0.00023331", "available": "9999.99976669"}
    ]
    assert [row["account"] for row in control.do("balances", {})] == [ANN, BOB]


def test_events_are_read_since_a_number(exchange, control):
    """Those behind the number, oldest first, and no more than asked for."""
    matched(exchange)
    events = control.do_text(f"events account={ANN}")
    assert [event["name"] for event in events] == ["seto.order_accepted", "seto.order_executed"]
    assert [event["account_sequence"] for event in events] == [1, 2]
    assert all(event["away"] for event in events)
    assert events[0]["message"] == {
        "seq": 7,
        "order_id": events[0]["order_id"],
        "market_id": MARKET,
        "contract_id": CONTRACT,
        "side": "SIDE_BUY",
        "price": 2500,
        "quantity": 100_000,
        "label": "first",
        "reference": 5,
        "available_balance": "9997.5",
        "exposure": "-2.5",
        "account_sequence": 1,
        "account_sequence_64": 1,
    }
    assert control.do_text(f"events account={ANN} after=1") == events[1:]
    assert control.do_text(f"events account={ANN} limit=1") == events[:1]
    assert control.do_text(f"events account={ANN} after=2") == []
    assert control.do("truth", {})["accounts"][ANN][0][:2] == [1, "seto.order_accepted"]


def test_events_whose_messages_were_forgotten_are_read_without(exchange, control):
    """The truth is longer than what clients can resume."""
    matched(exchange)
    control.do_text(f"shorten_history account={ANN} events=1")
    assert [event["message"] is None for event in control.do_text(f"events account={ANN}")] == [True, False]


def test_a_message_is_plain_data():
    """Enums by name, doubles exactly, lists and messages inside; nothing that is absent."""
    message = seto.MarketState(
        state=seto.MARKET_STATE_LIVE,
        market_id=5,
        contracts=[seto.ContractState(contract_id=6, state=seto.CONTRACT_STATE_HALTED)],
    )
    assert message_data(message) == {
        "state": "MARKET_STATE_LIVE",
        "market_id": 5,
        "contracts": [{"contract_id": 6, "state": "CONTRACT_STATE_HALTED"}],
    }
    invalid = seto.OrderInvalid(seq=1, reasons=[seto.ORDER_INVALID_INVALID_PRICE])
    assert message_data(invalid)["reasons"] == ["ORDER_INVALID_INVALID_PRICE"]
    assert message_data(seto.BalanceChanged(available_balance=1e-8))["available_balance"] == "0.00000001"
    assert (
        message_data(seto.BalanceChanged(available_balance=1e16))["available_balance"] == "10000000000000000"
    )


def test_books_are_read(exchange, control):
    """Every level or the best ones, best first on both sides."""
    for price in (2400, 2500, 2450):
        place(exchange, ANN, seto.SIDE_BUY, price, 10)
        place(exchange, BOB, seto.SIDE_SELL, price + 1000, price)
    (book,) = control.do("books", {"market_id": MARKET, "contract_id": CONTRACT})
    assert [level["price"] for level in book["bids"]] == [2500, 2450, 2400]
    assert book["offers"][0] == {"price": 3400, "quantity": 2400}
    (best,) = control.do("books", {"contract_id": CONTRACT, "depth": 1})
    assert (best["bids"], best["offers"]) == (book["bids"][:1], book["offers"][:1])
    assert len(control.do("books", {})) == 4


def test_trades_are_read(exchange, control):
    """Both sides with their accounts, until the market is paid."""
    bid, ask = matched(exchange)
    (trade,) = control.do("trades", {})
    assert trade == {
        "trade_id": 1,
        "market_id": MARKET,
        "contract_id": CONTRACT,
        "price": 2500,
        "quantity": 40_000,
        "state": "final",
        "pending_until_us": None,
        "liquidity": "BUY",
        "buyer": ANN,
        "buy_order_id": bid,
        "seller": BOB,
        "sell_order_id": ask,
    }
    assert control.do("trades", {"account": BOB}) == [trade]
    assert control.do("trades", {"market_id": MARKET + 1}) == []
    assert control.do_text(f"settle market_id={MARKET} winners=[{CONTRACT}]") is None
    assert control.do("trades", {}) == []
    assert control.do("balances", {"account": ANN})[0]["cash"] == "10003.00"


def test_markets_are_read(exchange, control):
    """Their states and the contracts' own, what was traded, whether they are managed."""
    matched(exchange)
    control.do_text(f"set_market_state market_id={MARKET} state=LIVE reason=off")
    control.do_text(f"set_contract_state market_id={MARKET} contract_id={CONTRACT + 1} state=HALTED")
    control.do_text(f"set_managed market_id={MARKET}")
    assert control.do("markets", {"market_id": MARKET}) == [
        {
            "market_id": MARKET,
            "state": "LIVE",
            "reason": "off",
            "managed": True,
            "contracts": [
                {"contract_id": CONTRACT, "state": "LIVE"},
                {"contract_id": CONTRACT + 1, "state": "HALTED"},
            ],
            "executed_volume": 40_000,
            "trades": 1,
        }
    ]
    assert [market["state"] for market in control.do("markets", {})] == ["LIVE", "OPEN"]


def test_accounts_settings_and_counters_are_read(exchange, control):
    """Who there is, what was chosen, how much there is of everything."""
    matched(exchange)
    control.do_text(f"suspend_account account={BOB}")
    usual = {
        "online": 0,
        "suspended": False,
        "trading_suspended": False,
        "exposure_limit": None,
        "stake_limit": None,
        "next_account_sequence": 3,
        "live_orders": 1,
        "refusals": [],
    }
    assert control.do("accounts", {}) == [
        {**usual, "account": ANN},
        {**usual, "account": BOB, "suspended": True, "live_orders": 0},
    ]
    chosen = control.do("settings", {})
    assert chosen.keys() == set(ExchangeSettings.__dataclass_fields__)
    assert (chosen["visible_depth"], chosen["opening_balance"]) == (5, "10000.00")
    counters = control.do("counters", {})
    expected = {"accounts": 2, "live_orders": 1, "trades": 1, "events": 4, "executions": 2, "faults": 0}
    assert {name: counters[name] for name in expected} == expected


def test_what_keeps_an_account_from_trading_is_read(exchange, control):
    """Suspensions of it and of all, its limits, and the refusals that wait, which ``clear`` does not take."""
    control.do("set_limits", {"account": ANN, "exposure": "100.00", "stake": "0.50"})
    control.do_text(f"suspend_trading account={BOB}")
    for request, reason in [
        ("order_cancel_replace", "replacement:TOO_LATE"),
        ("order_create", "INVALID_PRICE"),
        ("order_create", "TRADING_SUSPENDED"),
    ]:
        control.do("refuse_next", {"account": ANN, "request": request, "reason": reason, "times": 2})
    exchange.exchange.request_without_session(
        exchange.exchange.accounts[ANN], seto.OrderCreate(market_id=1), 7, exchange.now()
    )
    assert control.do("clear", {}) == 0
    ann, bob = control.do("accounts", {})
    assert ann["refusals"] == [
        {"request": "order_create", "reason": "INVALID_PRICE", "times": 1},
        {"request": "order_create", "reason": "TRADING_SUSPENDED", "times": 2},
        {"request": "order_cancel_replace", "reason": "replacement:TOO_LATE", "times": 2},
    ]
    assert (ann["exposure_limit"], ann["stake_limit"]) == ("100.00", "0.50")
    assert (ann["trading_suspended"], bob["trading_suspended"]) == (False, True)
    control.do_text("suspend_trading")
    assert [each["trading_suspended"] for each in control.do("accounts", {})] == [True, True]


def test_every_reading_is_json(exchange, control):
    """Nothing that comes out of one needs more than ``json.dumps``; there are floats for durations alone."""
    matched(exchange)
    exchange.exchange.connect(exchange.now(), lambda peer: None)
    for name, command in control.commands.items():
        if command.kind == "reading":
            value = control.do(name, {"account": ANN} if name == "events" else {})
            assert json.loads(json.dumps(value)) == value
            assert _floats(value) == (name in ("connections", "settings"))


def _floats(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_floats, value.values()))
    return any(map(_floats, value)) if isinstance(value, list) else isinstance(value, float)


# --- verbs ----------------------------------------------------------------------------------------


def test_a_verb_takes_tables_too(exchange, control):
    """As ``tell`` does: a message by its name and fields."""
    fields = json.dumps({"seq": 5, "reason": "ORDER_REJECTED_MARKET_HALTED"})
    control.do_text(f"tell account={ANN} name=seto.order_rejected fields={fields}")
    (event,) = control.do("events", {"account": ANN})
    assert event["name"] == "seto.order_rejected"
    assert event["message"]["reason"] == "ORDER_REJECTED_MARKET_HALTED"


def test_sessions_are_told(exchange, control):
    """Limits and news go out, to nobody here; the limits stay."""
    assert control.do_text("notify_event event_id=5 state=SAFE details=goal") == 0
    control.do_text("change_limits rate=7")
    assert exchange.exchange.limits_for(ANN).rate == 7
    assert control.do_text(f"log_out account={ANN}") == 0


# --- faults ---------------------------------------------------------------------------------------


def test_faults_wait_and_are_taken_back(control):
    """By data or in writing, in the words of the table; ``clear`` answers how many went."""
    control.do("drop", {"account": ANN, "frames": 3})
    control.do_text(f"skip account={BOB} numbers=2")
    control.do_text(f"refuse_login account={ANN} reason=UNVERIFIED")
    assert control.do("armed", {}) == [
        f"drop account={ANN} frames=3",
        f"skip account={BOB} numbers=2",
        f"refuse_login account={ANN} reason=UNVERIFIED",
    ]
    control.do("admit", {"account": ANN})
    assert len(control.do("armed", {})) == 2
    assert control.do("clear", {"account": BOB}) == 1
    assert control.do("clear", {}) == 1
    assert control.do("armed", {}) == []


def test_what_only_a_socket_can_do_is_refused_in_words(control):
    """This exchange serves plain TCP: it has no certificate."""
    answer = control.execute({"do": "certificate", "kind": "expired"})
    assert answer == {"ok": False, "error": answer["error"]}
    assert "certificate" in answer["error"]


# --- anything at all ------------------------------------------------------------------------------

_NAMES = [
    ANN,
    BOB,
    "*",
    "HALTED",
    "LIVE",
    "PRICE",
    "order_create",
    "order_accepted",
    "TOO_LATE",
    "1.50",
    "NaN",
]
_VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**70), 2**70),
        st.sampled_from([0, 1, MARKET, CONTRACT, MARKET + 1]),
        st.floats(),
        st.text(max_size=5),
        st.sampled_from(_NAMES),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
)


@settings(max_examples=40)
@given(data=st.data())
def test_whatever_is_asked_is_answered(data):
    """Any command with any arguments: an answer that is JSON, and an exchange that goes on."""
    exchange = EmbeddedExchange(accounts=[ANN, BOB], markets=2, tls=False)
    control = Control(exchange)
    matched(exchange)
    for _ in range(10):
        name = data.draw(st.sampled_from(sorted(control.commands)))
        usage = control.commands[name].usage
        needed = dict.fromkeys(re.findall(r" (\w+)=", usage), _VALUES)
        possible = dict.fromkeys(re.findall(r"\[(\w+)=", usage), _VALUES)
        arguments = data.draw(st.fixed_dictionaries(needed, optional=possible))
        answer = control.execute({"do": name, **arguments})
        json.dumps(answer)
        assert answer["ok"] or answer["error"]
    for name, command in control.commands.items():
        if command.kind == "reading" and name != "events":
            control.do(name, {})
