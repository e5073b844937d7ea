"""A short part of ``make fuzz``, the same on every run; and that the fuzzing would see what it looks for."""

import logging

import pytest

from smarkets_pool import seto
from smarkets_pool.exchange.book import OrderBook
from smarkets_pool.exchange.peer import Peer
from smarkets_pool.protocol import SessionProtocol
from tests.fuzz.case import Figures, play
from tests.fuzz.frames import framed
from tests.fuzz.invariants import Finding
from tests.fuzz.pure import case_of, fails, shortened
from tests.fuzz.stage import Stage

CASES = 150


def test_cases_of_a_seed_find_nothing():
    """Whatever these cases send, everybody else goes on, and what must hold holds."""
    figures = Figures()
    for seed in range(CASES):
        play(case_of(seed), figures)
    assert figures.cases == CASES
    assert figures.closed > CASES
    assert figures.requests_of_witnesses > 4 * CASES
    assert len(figures.kinds) == len({name.strip("_") for name in figures.kinds}) > 15


# --- would it be seen? ----------------------------------------------------------------------------


def test_an_error_that_leaves_receive_is_a_finding(monkeypatch):
    """A case fails if the exchange lets an error out."""
    monkeypatch.setattr(Peer, "_on_settings", lambda *_: 1 / 0)
    with Stage() as stage, pytest.raises(Finding, match="ZeroDivisionError"):
        stage.witnesses[0].ask("settings", seto.Settings())


def test_a_close_without_a_line_is_a_finding(monkeypatch):
    """A case fails if a connection is closed and the log does not say why."""
    monkeypatch.setattr(Peer, "_say", lambda *_: None)
    with Stage() as stage:
        stage.stranger().feed(framed(b"no payload"))
        with pytest.raises(Finding, match="no log line"):
            stage.check()


def test_a_number_that_is_left_out_is_a_finding():
    """A case fails if a witness misses a number."""
    with Stage() as stage:
        stage.witnesses[0].peer.protocol.memory.outseq += 1
        with pytest.raises(Finding, match="expected number 3"):
            stage.witnesses[0].ping()


def test_a_request_without_an_answer_is_a_finding(monkeypatch):
    """A case fails if a witness is not answered."""
    with Stage() as stage:
        monkeypatch.setattr(stage.exchange, "request", lambda *_: None)
        with pytest.raises(Finding, match="asked order_cancel and got"):
            stage.witnesses[0].ask("order_cancel", seto.OrderCancel(order_id=1))


def test_a_lost_witness_is_a_finding():
    """A case fails if somebody else costs a witness the connection."""
    with Stage() as stage:
        stage.witnesses[1].peer.log_out(1, stage.now)
        with pytest.raises(Finding, match="bob lost its connection"):
            stage.check()


def test_money_out_of_nothing_is_a_finding():
    """A case fails if there is a point more than before."""
    with Stage() as stage:
        stage.exchange.accounts["eve"].cash_points += 1
        with pytest.raises(Finding, match="there were"):
            stage.check()


def test_a_level_that_does_not_add_up_is_a_finding(monkeypatch):
    """A case fails if a book tells other quantities than its orders have."""
    with Stage() as stage:
        order = seto.OrderCreate(side=1, price=2500, quantity=400, market_id=1, contract_id=2)
        stage.witnesses[0].ask("order_create", order)
        monkeypatch.setattr(OrderBook, "levels", lambda *_: [])
        with pytest.raises(Finding, match="levels"):
            stage.check()


def test_a_deadline_in_the_past_is_a_finding(monkeypatch):
    """A case fails if the exchange would spin."""
    with Stage() as stage:
        monkeypatch.setattr(SessionProtocol, "next_deadline", lambda self: stage.now - 1)
        with pytest.raises(Finding, match="still due"):
            stage.check()


@pytest.mark.parametrize("text", ["two\nlines", "pw-ann", "x" * 1000])
def test_a_bad_log_line_is_a_finding(text):
    """A case fails if a client can write into the log, stretch it, or find a secret there."""
    with Stage() as stage:
        logging.getLogger("smarkets_pool.exchange.peer").info(text)
        with pytest.raises(Finding, match="log"):
            stage.check()


def test_a_failing_case_is_shortened():
    """What fails is kept without most of what it does not need."""
    assert shortened(bytes(range(200)), lambda data: 7 in data and 150 in data) == bytes([7, 150])
    assert not fails(b"")
