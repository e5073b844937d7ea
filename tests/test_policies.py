"""Policies: values that say what comes next, and nothing they remember."""

import dataclasses
import math
import random
import ssl

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smarkets_pool import eto, exceptions
from smarkets_pool.exceptions import ConfigError, UsageError
from smarkets_pool.policies import (
    Attempts,
    Backoff,
    Deadline,
    Decision,
    ReconnectPolicy,
    TimeoutPolicy,
    Trouble,
)
from smarkets_pool.protocol import Timing

QUICK = settings(database=None, deadline=None, max_examples=50)


def lengths(maximum=1e6):
    """Seconds."""
    return st.floats(0, maximum, allow_nan=False)


@st.composite
def backoffs(draw, jitter=None):
    """Any legal backoff."""
    initial = draw(lengths(1e3))
    return Backoff(
        initial=initial,
        cap=initial + draw(lengths()),
        factor=draw(st.floats(1, 100)),
        jitter=draw(st.floats(0, 1)) if jitter is None else jitter,
    )


# --- backoff --------------------------------------------------------------------------------------


def test_the_default_backoff():
    """0.5 s to 60 s, doubling, full jitter."""
    assert Backoff() == Backoff(initial=0.5, cap=60.0, factor=2.0, jitter=1.0)


def test_the_ceiling_doubles_up_to_the_cap():
    """Attempt n waits up to initial * 2 ** (n - 1)."""
    ceilings = [Backoff().ceiling(n) for n in range(1, 10)]
    assert ceilings == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]


def test_full_jitter_spans_everything():
    """From the whole length down to nothing."""
    policy = Backoff()
    assert policy.delay(4, lambda: 0.0) == 4.0
    assert policy.delay(4, lambda: 0.75) == 1.0


def test_half_jitter_keeps_half():
    """Only the share that jitter names is random."""
    policy = Backoff(jitter=0.5)
    assert policy.delay(1, lambda: 0.0) == 0.5
    assert policy.delay(1, lambda: 0.5) == 0.375


def test_without_jitter_nothing_is_random():
    """jitter 0 is exactly the ceiling."""
    assert [Backoff(jitter=0).delay(n) for n in (1, 2, 3, 8, 100)] == [0.5, 1.0, 2.0, 60.0, 60.0]


def test_a_constant_backoff():
    """factor 1 stays at the start."""
    assert Backoff(factor=1, jitter=0).delay(10**6) == 0.5


def test_no_wait_at_all():
    """initial and cap 0 are legal: a test wants to reconnect at once."""
    assert Backoff(initial=0, cap=0).delay(5) == 0


@QUICK
@given(backoffs(), st.integers(1, 200), st.floats(0, 1, exclude_max=True))
def test_a_delay_is_between_nothing_and_the_ceiling(policy, attempt, chance):
    """Jitter takes away and never adds; the cap holds."""
    delay = policy.delay(attempt, lambda: chance)
    assert 0 <= delay <= policy.ceiling(attempt) <= policy.cap


@QUICK
@given(backoffs(), st.integers(1, 100))
def test_ceilings_never_fall(policy, attempt):
    """A later attempt waits at least as long."""
    assert policy.ceiling(attempt) <= policy.ceiling(attempt + 1)


@QUICK
@given(st.integers(8, 10**6), st.floats(0, 1, exclude_max=True))
def test_full_jitter_survives_the_cap(attempt, chance):
    """At the cap the delays of many clients are still spread over all of it."""
    assert Backoff().delay(attempt, lambda: chance) == pytest.approx(60 * (1 - chance))


def test_clients_at_the_cap_do_not_act_at_once():
    """A thousand delays at the cap: all different, below it, and about half of it on average."""
    chance = random.Random(1).random
    delays = [Backoff().delay(50, chance) for _ in range(1000)]
    assert len(set(delays)) == 1000
    assert max(delays) <= 60
    assert 27 < sum(delays) / 1000 < 33


def test_the_default_randomness_is_used():
    """Without an argument two delays of the same attempt differ."""
    assert len({Backoff().delay(20) for _ in range(10)}) > 1


@pytest.mark.parametrize(
    "policy", [Backoff(jitter=0), Backoff(cap=math.inf, jitter=0), Backoff(factor=1e300, jitter=0)]
)
def test_a_long_outage_overflows_nothing(policy):
    """Attempt one million has a delay too: the cap."""
    assert policy.delay(10**6) == policy.cap


@pytest.mark.parametrize("attempt", [0, -1])
def test_attempts_are_numbered_from_one(attempt):
    """Attempt 0 is a mistake of the program."""
    with pytest.raises(UsageError, match=f"not {attempt}"):
        Backoff().delay(attempt)


# --- settings that cannot be ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        (Backoff, "initial", -1),
        (Backoff, "initial", "1"),
        (Backoff, "initial", True),
        (Backoff, "initial", None),
        (Backoff, "initial", math.nan),
        (Backoff, "cap", 0.25),
        (Backoff, "cap", None),
        (Backoff, "cap", math.nan),
        (Backoff, "factor", 0.5),
        (Backoff, "factor", "2"),
        (Backoff, "jitter", -0.5),
        (Backoff, "jitter", 1.5),
        (Backoff, "jitter", "full"),
        (ReconnectPolicy, "backoff", 5),
        (ReconnectPolicy, "backoff", None),
        (ReconnectPolicy, "stable_after", -1),
        (ReconnectPolicy, "stable_after", None),
        (ReconnectPolicy, "max_attempts", 0),
        (ReconnectPolicy, "max_attempts", 2.5),
        (ReconnectPolicy, "max_broken", 0),
        (ReconnectPolicy, "max_broken", None),
        (ReconnectPolicy, "login_rate", 0),
        (ReconnectPolicy, "login_rate", None),
        (ReconnectPolicy, "login_burst", 0),
        (ReconnectPolicy, "login_burst", 1.5),
        *((TimeoutPolicy, field.name, 0) for field in dataclasses.fields(TimeoutPolicy)),
        *((TimeoutPolicy, field.name, -1) for field in dataclasses.fields(TimeoutPolicy)),
        *((TimeoutPolicy, field.name, None) for field in dataclasses.fields(TimeoutPolicy)),
        *((TimeoutPolicy, field.name, "5") for field in dataclasses.fields(TimeoutPolicy)),
        *((TimeoutPolicy, field.name, True) for field in dataclasses.fields(TimeoutPolicy)),
        *((TimeoutPolicy, field.name, math.nan) for field in dataclasses.fields(TimeoutPolicy)),
        (TimeoutPolicy, "give_up_after", 15.0),
        (TimeoutPolicy, "give_up_after", 10),
    ],
)
def test_a_value_out_of_range_is_named(kind, field, value):
    """The error names class, field and value, and what would do."""
    with pytest.raises(ConfigError) as caught:
        kind(**{field: value})
    assert str(caught.value).startswith(f"{kind.__name__}({field}={value!r}): expected ")


def test_probing_after_giving_up_is_refused():
    """A probe that comes too late is a contradiction, whichever of the two was changed."""
    with pytest.raises(ConfigError, match=r"give_up_after=30\.0.*probe_after \(40\)"):
        TimeoutPolicy(probe_after=40)


@pytest.mark.parametrize(
    "policy",
    [
        Backoff(),
        ReconnectPolicy(),
        TimeoutPolicy(),
        Attempts(),
        Decision(Trouble.RETRY, 1.0),
        Deadline(1.0),
    ],
)
def test_policies_do_not_change(policy):
    """One value serves a thousand accounts, so no field of it can be set; equal ones are equal."""
    field = dataclasses.fields(policy)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(policy, field, 1)
    assert policy == dataclasses.replace(policy)
    assert hash(policy) == hash(dataclasses.replace(policy))


# --- what a cause leads to ------------------------------------------------------------------------


def refused(reason):
    """A refused login."""
    return exceptions.LoginError(reason)


RETRY = [
    exceptions.ConnectionError("reset"),
    exceptions.SocketDisconnected(),
    exceptions.ConnectTimeout("slow"),
    exceptions.ReceiveTimeout("slow"),
    exceptions.SendTimeout("slow"),
    exceptions.HeartbeatTimeout(30.0),
    exceptions.LoginTimeout("nothing"),
    exceptions.SequenceGapError(3, 5, 5.0),
    ConnectionRefusedError("refused"),
    OSError("no route"),
    TimeoutError("slow"),
    refused(eto.LOGOUT_SERVICE_TEMPORARILY_UNAVAILABLE),
    refused(eto.LOGOUT_HEARTBEAT_TIMEOUT),
    refused(eto.LOGOUT_LOGIN_TIMEOUT),
    refused(eto.LOGOUT_NONE),
    refused(eto.LOGOUT_CONFIRMATION),
    refused(eto.LOGOUT_UNKNOWN_SESSION),
    refused(0),
    refused(99),
]
BROKEN = [
    refused(eto.LOGOUT_LOGIN_NOT_FIRST_SEQ),
    exceptions.ProtocolError("rule"),
    exceptions.DecodeError("bytes"),
    exceptions.FrameTooLarge(5, 4),
    exceptions.ParseError("payload"),
]
FINAL = [
    refused(eto.LOGOUT_UNAUTHORISED),
    refused(eto.LOGOUT_UNVERIFIED),
    exceptions.TlsError("certificate"),
    exceptions.UsageError("program"),
    exceptions.ConfigError("settings"),
]
TABLE = [
    *((error, Trouble.RETRY) for error in RETRY),
    (refused(eto.LOGOUT_DOWNTIME), Trouble.DOWNTIME),
    *((error, Trouble.BROKEN) for error in BROKEN),
    *((error, Trouble.FINAL) for error in FINAL),
]


@pytest.mark.parametrize(("error", "trouble"), TABLE, ids=lambda value: repr(value)[:60])
def test_the_table_of_causes(error, trouble):
    """Every row of the design's table."""
    assert ReconnectPolicy().classify(error) is trouble


def test_every_logout_reason_is_in_the_table():
    """A reason that the schema has and the table forgot would be retried by chance."""
    listed = {error.reason for error, _ in TABLE if isinstance(error, exceptions.LoginError)}
    assert set(eto.LogoutReason.values()) <= listed


def test_the_default_reconnect_policy():
    """For ever, three broken sessions, forgotten after 30 s of being up."""
    assert ReconnectPolicy() == ReconnectPolicy(
        backoff=Backoff(),
        stable_after=30.0,
        max_attempts=None,
        max_broken=3,
        login_rate=100.0,
        login_burst=50,
    )


@pytest.mark.parametrize("error", FINAL, ids=repr)
def test_final_errors_are_given_up_at_once(error):
    """Bad credentials and certificates are never tried again."""
    decision = ReconnectPolicy().decide(error, Attempts(failures=1))
    assert decision.trouble is Trouble.FINAL
    assert decision.delay is None and decision.final
    assert str(error) in decision.give_up_because


@pytest.mark.parametrize("failures", [1, 4, 1000])
def test_retrying_never_ends_by_itself(failures):
    """Without max_attempts the thousandth failure is retried too, at the backoff of its number."""
    policy = ReconnectPolicy(backoff=Backoff(jitter=0))
    decision = policy.decide(exceptions.SocketDisconnected(), Attempts(failures=failures))
    assert decision == Decision(Trouble.RETRY, Backoff(jitter=0).delay(failures))
    assert not decision.final


def test_the_delay_is_random_by_what_it_was_given():
    """decide() hands the randomness through."""
    decision = ReconnectPolicy().decide(OSError(), Attempts(failures=8), lambda: 0.5)
    assert decision.delay == 30.0


def test_a_history_that_counts_nothing_yet():
    """Without a failure counted the first delay is that of attempt 1."""
    decision = ReconnectPolicy(backoff=Backoff(jitter=0)).decide(OSError(), Attempts())
    assert decision.delay == 0.5


def test_downtime_is_retried():
    """The kind tells the pool to pause; the delay is as for any other."""
    decision = ReconnectPolicy().decide(refused(eto.LOGOUT_DOWNTIME), Attempts(failures=1), lambda: 0.0)
    assert decision == Decision(Trouble.DOWNTIME, 0.5)


@pytest.mark.parametrize("error", BROKEN, ids=repr)
def test_a_broken_protocol_is_tried_three_times_more(error):
    """Three retries, and the fourth failure gives up and says how often."""
    policy, history, decisions = ReconnectPolicy(), Attempts(), []
    for _ in range(4):
        history = history.after(policy.classify(error))
        decisions.append(policy.decide(error, history))
    assert [decision.final for decision in decisions] == [False, False, False, True]
    assert decisions[-1].trouble is Trouble.BROKEN
    assert "4 times" in decisions[-1].give_up_because


def test_network_errors_do_not_count_as_broken():
    """A history full of lost connections still has its three tries."""
    history = Attempts()
    for _ in range(50):
        history = history.after(Trouble.RETRY)
    history = history.after(Trouble.BROKEN)
    assert history == Attempts(failures=51, broken=1)
    assert not ReconnectPolicy().decide(exceptions.ParseError("x"), history).final


def test_max_attempts():
    """The second failure of two allowed is the last."""
    policy = ReconnectPolicy(max_attempts=2)
    assert not policy.decide(OSError("x"), Attempts(failures=1)).final
    decision = policy.decide(OSError("boom"), Attempts(failures=2))
    assert decision.final
    assert decision.give_up_because == "2 failures in a row: boom"


def test_a_raw_certificate_error_is_final_once_it_is_mapped():
    """The socket's edge turns it into TlsError; that is what the policy knows."""
    error = exceptions.TlsError("expired")
    error.__cause__ = ssl.SSLCertVerificationError("expired")
    assert ReconnectPolicy().classify(error) is Trouble.FINAL


def test_asking_changes_no_history():
    """after() returns a new value."""
    history = Attempts()
    assert history.after(Trouble.FINAL) == Attempts(failures=1)
    assert history == Attempts(failures=0, broken=0)


# --- timeouts and deadlines -----------------------------------------------------------------------


def test_the_default_timeouts():
    """The design's: connect 10, login 10, logout 5, silence 15 and 30, heartbeat 5, orders 2."""
    assert TimeoutPolicy() == TimeoutPolicy(
        connect=10.0,
        login=10.0,
        logout=5.0,
        probe_after=15.0,
        give_up_after=30.0,
        heartbeat_after=5.0,
        send=30.0,
        replay=5.0,
        replay_orders=2.0,
    )


def test_the_default_timing_is_the_protocols():
    """Both defaults are one."""
    assert TimeoutPolicy().timing() == Timing()


def test_timing_hands_everything_through():
    """Each wait arrives in the protocol under its own name."""
    policy = TimeoutPolicy(
        login=1, logout=2, probe_after=3, give_up_after=4, heartbeat_after=5, replay=6, replay_orders=7
    )
    assert policy.timing() == Timing(
        login=1, logout=2, probe_after=3, give_up_after=4, heartbeat_after=5, replay=6, replay_orders=7
    )


def test_a_deadline_is_one_moment():
    """What one step uses up is missing in the next."""
    deadline = Deadline.after(10, now=100.0)
    assert deadline == Deadline(110.0)
    assert [deadline.left(now) for now in (100.0, 107.5, 110.0, 500.0)] == [10.0, 2.5, 0.0, 0.0]
    assert [deadline.passed(now) for now in (100.0, 109.5, 110.0, 500.0)] == [False, False, True, True]


def test_no_deadline():
    """None is never."""
    deadline = Deadline.after(None, now=100.0)
    assert deadline == Deadline(None)
    assert deadline.left(1e12) is None
    assert not deadline.passed(1e12)
