"""Logging in: what the login carries, how it is answered, and what may come before the answer."""

import pytest

from smarkets_pool import eto, seto
from smarkets_pool.exceptions import ProtocolError
from smarkets_pool.protocol import (
    Failed,
    GapFilled,
    GapFound,
    LoggedIn,
    LoginReceived,
    LogoutReceived,
    ReplayAnswered,
    SessionMemory,
    SessionProtocol,
    State,
)
from tests.rig.ends import (
    LOGIN,
    SESSION,
    START,
    Alone,
    Ends,
    client_up,
    exchange_up,
    gapfill,
    heartbeat,
    login,
    login_response,
    logout,
    market,
    new_client,
    new_exchange,
    ping,
    replay,
    subscribe,
    told,
)


def reasons():
    return list(eto.LogoutReason.items())


# --- what the login carries -----------------------------------------------------------------------


def test_a_login_by_password_is_the_vendors_bytes():
    """The frame of the documented hybrid login is byte for byte what the vendor's client sends."""
    peer = new_client()
    assert peer.side.login(seto.Login(username="u@example.com", password="pw"), peer.now) == 1
    assert peer.side.data_to_send().hex() == "1d08021204080110071a130a0d75406578616d706c652e636f6d12027077"


def test_a_login_by_token_is_the_vendors_bytes():
    """A token travels as the cookie."""
    peer = new_client()
    peer.side.login(seto.Login(cookie=b"token"), peer.now)
    assert peer.side.data_to_send().hex() == "1108021204080110071a071a05746f6b656e"


def test_a_login_with_account_sequence_is_the_vendors_bytes():
    """Both account sequence fields travel as the caller set them, the zero too."""
    peer = new_client()
    peer.side.login(
        seto.Login(
            username="u@example.com", password="pw", account_sequence=0, account_sequence_64=4294967297
        ),
        peer.now,
    )
    assert (
        peer.side.data_to_send().hex()
        == "2508021204080110071a1b0a0d75406578616d706c652e636f6d120270772000288180808010"
    )


def test_an_empty_login_still_carries_one():
    """A login without any field is present on the wire, so that the exchange can refuse it."""
    peer = new_client()
    peer.side.login(seto.Login(), peer.now)
    (payload,) = peer.sent_payloads()
    assert payload.HasField("login")
    assert not payload.eto_payload.HasField("login")


def test_the_login_is_copied():
    """Changing the caller's message after login() changes nothing that was sent."""
    peer = new_client()
    message = seto.Login(username="before")
    peer.side.login(message, peer.now)
    message.username = "after"
    assert peer.sent_payloads()[0].login.username == "before"


@pytest.mark.parametrize(
    "message",
    [
        seto.Login(username="u@example.com", password="pw"),
        seto.Login(cookie=b"token"),
        seto.Login(username="u", password="p", account_sequence=0, account_sequence_64=77),
    ],
    ids=["password", "token", "account sequence"],
)
def test_the_exchange_sees_the_login_as_it_was_given(message):
    """LoginReceived carries the credentials and resume point of the client's login."""
    ends = Ends()
    ends.client.login(message, ends.now)
    ends.pump()
    assert ends.exchange_events == [LoginReceived(message, None, 1)]
    assert ends.exchange_events[0].first
    assert ends.exchange.state is State.LOGIN_RECEIVED


def test_a_login_above_one_is_not_first():
    """A login with another number than 1 cannot open a session, and says so."""
    (event,) = new_exchange().feed(login(2))
    assert event == LoginReceived(LOGIN, None, 2)
    assert not event.first


# --- the exchange decides ---------------------------------------------------------------------------


def test_accepting_a_new_session():
    """The response has number 1, tells the client to go on at 2, and carries what it was given."""
    peer = new_exchange()
    peer.feed(login())
    assert peer.side.accept_login(SESSION, peer.now, email="u@example.com", account_id=7) == 1
    (payload,) = peer.sent_payloads()
    assert payload.eto_payload.seq == 1
    assert payload.eto_payload.HasField("is_replay") and not payload.eto_payload.is_replay
    assert payload.eto_payload.login_response == eto.LoginResponse(
        session=SESSION, reset=2, email="u@example.com", id=7
    )
    assert (peer.side.state, peer.side.inseq, peer.side.outseq) == (State.UP, 2, 2)
    assert peer.side.logged_in


def test_email_and_account_id_are_optional():
    """What the caller leaves out of accept_login is absent on the wire."""
    peer = new_exchange()
    peer.feed(login())
    peer.side.accept_login(SESSION, peer.now)
    response = peer.sent_payloads()[0].eto_payload.login_response
    assert not response.HasField("email") and not response.HasField("id")


def test_frames_behind_an_undecided_login_are_not_looked_at():
    """Even bytes that break the wire's rules wait until the login is decided."""
    peer = new_exchange()
    assert peer.feed(login(), ping(2), b"\xff" * 5) == [LoginReceived(LOGIN, None, 1)]
    assert peer.events() == []
    assert peer.side.frames_received == 1
    peer.side.accept_login(SESSION, peer.now)
    assert peer.sent() == ["1 login_response"]
    seen = peer.events()
    assert seen[0] == "2 ping"
    assert isinstance(seen[1], Failed)


def test_before_any_login_whatever_comes_is_reported():
    """A first frame that is no login is the caller's to judge; the session stays NEW."""
    peer = new_exchange()
    assert peer.feed(ping(1), market(9)) == ["1 ping", "9 market_subscribe"]
    assert peer.side.state is State.NEW
    assert peer.sent() == []


def test_a_session_that_does_not_start_with_a_login_can_be_refused():
    """The refusal LOGIN_NOT_FIRST_SEQ has number 1."""
    peer = new_exchange()
    peer.feed(ping(1))
    assert peer.side.logout(peer.now, eto.LOGOUT_LOGIN_NOT_FIRST_SEQ) == 1
    (payload,) = peer.sent_payloads()
    assert payload.eto_payload.logout.reason == eto.LOGOUT_LOGIN_NOT_FIRST_SEQ
    assert peer.side.state is State.LOGOUT_SENT


def test_a_second_login_on_a_session_is_only_reported():
    """What a second login means is for the exchange to decide; the session's numbers go on."""
    peer = exchange_up()
    assert peer.feed(login(2)) == ["2 login"]
    assert (peer.side.state, peer.side.inseq) == (State.UP, 3)


# --- the client hears the answer --------------------------------------------------------------------


def test_a_client_is_up_with_the_response():
    """The response is reported as a frame and then as what it means."""
    ends = Ends().login()
    assert [told(event) for event in ends.client_events] == [
        "1 login_response",
        LoggedIn(SESSION, "u@example.com", 7),
    ]
    assert (ends.client.state, ends.client.inseq, ends.client.outseq) == (State.UP, 2, 2)


def test_reset_says_where_the_clients_numbers_go_on():
    """After a response with reset 9 the client's next number is 9."""
    peer = new_client()
    peer.side.login(LOGIN, peer.now)
    peer.feed(login_response(reset=9))
    assert peer.side.ping(peer.now) == 9


@pytest.mark.parametrize("reset", [None, 0])
def test_without_reset_the_clients_numbers_stay(reset):
    """An absent or zero reset must not number the next message 0."""
    peer = new_client()
    peer.side.login(LOGIN, peer.now)
    assert peer.feed(login_response(reset=reset)) == ["1 login_response", LoggedIn(SESSION, "", 0)]
    assert peer.side.ping(peer.now) == 2


def test_a_second_response_changes_nothing():
    """Only the answer to a login re-bases the numbers."""
    peer = client_up()
    assert peer.feed(login_response(2, reset=50)) == ["2 login_response"]
    assert (peer.side.state, peer.side.outseq) == (State.UP, 2)


def test_a_response_in_place_of_a_login_is_only_reported():
    """A response that nobody asked for logs nobody in."""
    peer = new_exchange()
    assert peer.feed(login_response(1)) == ["1 login_response"]
    assert peer.side.state is State.NEW


@pytest.mark.parametrize(
    "frame", [ping(1), heartbeat(1), market(1), replay(1, 1), login(1)], ids=lambda f: f.hex()[:12]
)
def test_nothing_but_the_answer_may_come_before_the_response(frame):
    """Any other payload with the expected number breaks the protocol."""
    peer = new_client()
    peer.side.login(LOGIN, peer.now)
    (event,) = peer.feed(frame)
    assert isinstance(event, Failed)
    assert type(event.error) is ProtocolError
    assert "expected the answer to our login" in str(event.error)
    assert peer.side.state is State.CLOSED


@pytest.mark.parametrize("frame", [ping(2), market(9), replay(3, 1)], ids=["ping", "market", "replay"])
def test_a_number_missing_before_the_response_is_not_asked_for(frame):
    """Before the answer nothing is sent and nothing is believed: the login's deadline decides."""
    peer = new_client()
    peer.side.login(LOGIN, peer.now)
    peer.sent()
    assert peer.feed(frame) == []
    assert peer.sent() == []
    assert peer.side.state is State.LOGIN_SENT
    assert peer.feed(login_response()) == ["1 login_response", LoggedIn(SESSION, "", 0)]


def test_a_duplicate_before_the_response_is_counted():
    """Number 0 is below the first expected one."""
    peer = new_client()
    peer.side.login(LOGIN, peer.now)
    assert peer.feed(ping(0)) == []
    assert peer.side.duplicates == 1
    assert peer.side.state is State.LOGIN_SENT


# --- refusals -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "reason"), reasons())
def test_a_refused_login(name, reason):
    """A logout in place of the response is reported with its reason, whatever that is."""
    peer = new_client()
    peer.side.login(LOGIN, peer.now)
    assert peer.feed(logout(1, reason)) == ["1 logout", LogoutReceived(reason, name)]
    assert peer.side.state is State.LOGOUT_RECEIVED
    assert peer.side.next_deadline() is None


def test_a_refusal_for_a_reason_newer_than_the_schema():
    """An unknown number is neither believed to be NONE nor lost."""
    peer = new_client()
    peer.side.login(LOGIN, peer.now)
    assert peer.feed(logout(1, 99)) == ["1 logout", LogoutReceived(0, "UNKNOWN(99)")]


def test_a_refusal_without_a_reason():
    """An absent reason is not read as LOGOUT_NONE."""
    peer = new_client()
    peer.side.login(LOGIN, peer.now)
    assert peer.feed(logout(1, None)) == ["1 logout", LogoutReceived(0, "ABSENT")]


@pytest.mark.parametrize(("name", "reason"), reasons())
def test_the_exchange_refuses(name, reason):
    """A refusal is a logout with number 1 and is not confirmed by anybody's silence."""
    ends = Ends()
    ends.client.login(LOGIN, ends.now)
    ends.pump()
    assert ends.exchange.logout(ends.now, reason) == 1
    ends.pump()
    assert ends.client_events[-1] == LogoutReceived(reason, name)
    assert ends.exchange.state is State.LOGOUT_SENT


def test_a_refused_client_that_confirms_has_lost_nothing():
    """Number 1 was the login, so a confirmation with number 2 is in order."""
    ends = Ends()
    ends.client.login(LOGIN, ends.now)
    ends.pump()
    ends.exchange.logout(ends.now, eto.LOGOUT_UNAUTHORISED)
    ends.pump()
    ends.exchange_events.clear()
    ends.client.logout(ends.now, eto.LOGOUT_CONFIRMATION)
    ends.pump()
    assert [told(event) for event in ends.exchange_events] == [
        "2 logout",
        LogoutReceived(eto.LOGOUT_CONFIRMATION, "LOGOUT_CONFIRMATION"),
    ]


def test_a_response_that_turns_up_as_a_gapfill():
    """A gapfill in place of the answer is tolerated: the login's own deadline decides."""
    peer = new_client()
    peer.side.login(LOGIN, peer.now)
    assert peer.feed(gapfill(1)) == ["1 gapfill replay"]
    assert (peer.side.state, peer.side.inseq) == (State.LOGIN_SENT, 2)


# --- resumption by session id -------------------------------------------------------------------------


def interrupted(*, client_out, client_in, exchange_out, exchange_in, exchange_sends=()):
    """What both sides remember of a session that was cut off."""
    ends = Ends().login()
    ends.exchange.memory.outseq = exchange_out - len(exchange_sends)
    for message in exchange_sends:
        ends.exchange.send(message, START)
    ends.client.memory.outseq = client_out
    ends.client.memory.inseq = client_in
    ends.exchange.memory.inseq = exchange_in
    return ends.client.memory, ends.exchange.memory


def test_the_documented_resumption():
    """The example of the exchange's documentation, number for number."""
    ours, theirs = interrupted(
        client_out=40,
        client_in=54,
        exchange_out=58,
        exchange_in=40,
        exchange_sends=[subscribe(n) for n in (54, 55, 56, 57)],
    )
    ends = Ends(client_memory=ours)
    ends.login(session=SESSION, memory=theirs)
    assert ends.exchange_events[0] == LoginReceived(LOGIN, SESSION, 40)
    assert ends.to_exchange.sent == ["40 login", "41 replay"]
    assert ends.to_client.sent == [
        "58 login_response",
        "54 market_subscribe replay",
        "55 market_subscribe replay",
        "56 market_subscribe replay",
        "57 market_subscribe replay",
        "58 gapfill replay",
    ]
    assert [told(event) for event in ends.client_events] == [
        LoggedIn(SESSION, "u@example.com", 7),
        GapFound(54, 57),
        "54 market_subscribe replay",
        "55 market_subscribe replay",
        "56 market_subscribe replay",
        "57 market_subscribe replay",
        "58 gapfill replay",
        GapFilled(54, 58),
    ]
    assert [told(event) for event in ends.exchange_events[1:]] == ["41 replay", ReplayAnswered(54, 4, 1, ())]
    assert (ends.client.inseq, ends.client.outseq) == (59, 42)
    assert (ends.exchange.inseq, ends.exchange.outseq) == (42, 59)
    assert ends.client.state is ends.exchange.state is State.UP


def test_resumption_with_nothing_missing():
    """Both sides go on where they were."""
    ours, theirs = interrupted(client_out=5, client_in=7, exchange_out=7, exchange_in=5)
    ends = Ends(client_memory=ours).login(session=SESSION, memory=theirs)
    assert ends.client_events == [ends.client_events[0], LoggedIn(SESSION, "u@example.com", 7)]
    assert (ends.client.outseq, ends.exchange.inseq) == (6, 6)
    assert (ends.client.inseq, ends.exchange.outseq) == (8, 8)
    ends.client.ping(ends.now)
    ends.pump()
    assert told(ends.client_events[-1]) == "8 pong"


def test_a_login_below_what_the_exchange_expects_jumps():
    """The exchange knows more of the client's numbers than the client: reset tells it where to go on."""
    ours, theirs = interrupted(client_out=3, client_in=7, exchange_out=7, exchange_in=9)
    ends = Ends(client_memory=ours).login(session=SESSION, memory=theirs)
    assert (ends.client.outseq, ends.exchange.inseq) == (9, 9)
    ends.forget().client.ping(ends.now)
    ends.pump()
    assert [told(event) for event in ends.exchange_events] == ["9 ping"]
    assert ends.exchange.state is State.UP


def test_a_login_above_what_the_exchange_expects_opens_a_gap():
    """What the client sent and the exchange never saw is asked for, with its old numbers."""
    first = Ends().login()
    for market_id in (2, 3):
        first.client.send(subscribe(market_id), START)  # numbers 2 and 3 never arrive
    ends = Ends(client_memory=first.client.memory)
    ends.login(session=SESSION, memory=first.exchange.memory)
    assert [told(event) for event in ends.exchange_events[1:]] == [
        GapFound(2, 3),
        "2 market_subscribe replay",
        "3 market_subscribe replay",
        "4 gapfill replay",
        GapFilled(2, 4),
    ]
    assert ends.client.outseq == ends.exchange.inseq == 5
    assert ends.client.state is ends.exchange.state is State.UP


def test_an_unknown_session_is_the_exchanges_to_refuse():
    """The id is reported; what an unknown one leads to is the caller's decision."""
    ends = Ends(client_memory=SessionMemory(inseq=3, outseq=3))
    ends.client.login(LOGIN, ends.now, session="gone")
    ends.pump()
    assert ends.exchange_events == [LoginReceived(LOGIN, "gone", 3)]


@pytest.mark.parametrize(("name", "reason"), [reasons()[5], reasons()[6]])
def test_a_refused_resumption_is_heard(name, reason):
    """A refusal has number 1, below what the resumed session expects, and still is the answer."""
    peer = Alone(SessionProtocol(memory=SessionMemory(inseq=3, outseq=3)))
    peer.side.login(LOGIN, peer.now, session="gone")
    assert LogoutReceived(reason, name) in peer.feed(logout(1, reason))
    assert peer.side.state is State.LOGOUT_RECEIVED


def test_resuming_costs_the_response_its_own_report():
    """An early response is applied at once, so its frame comes back as a gapfill and not as itself."""
    peer = Alone(SessionProtocol(memory=SessionMemory(inseq=2, outseq=5)))
    peer.side.login(LOGIN, peer.now, session=SESSION)
    assert peer.feed(login_response(3, reset=6)) == [LoggedIn(SESSION, "", 0), GapFound(2, 2)]
    assert peer.sent() == ["5 login", "6 replay"]
    assert peer.side.state is State.RECOVERING


def test_a_response_in_order_on_a_running_session_does_not_rebase():
    """An early response counts only while our login waits for one."""
    peer = client_up()
    assert peer.feed(login_response(5, reset=90)) == [GapFound(2, 4)]
    assert peer.sent() == ["2 replay"]
