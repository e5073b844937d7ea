"""The control over HTTP, asked as a test in any language would: with nothing but HTTP and JSON."""

from __future__ import annotations

import http.client
import json
import socket
import time
import urllib.parse
from collections.abc import Iterator
from typing import Any

import gevent
import pytest

from smarkets_pool import seto
from smarkets_pool.exceptions import ConfigError, LoginError
from smarkets_pool.exchange import EmbeddedExchange
from smarkets_pool.exchange.control import Control
from smarkets_pool.exchange.control.http import MAX_BODY, ControlServer
from smarkets_pool.session import Session, SessionSettings
from tests.rig.waiting import eventually

ANN, BOB = "ann@example.com", "bob@example.com"
MARKET, CONTRACT = 100_000, 200_000


class Client:
    """What a test in another language would have: an address, a token, HTTP and JSON."""

    def __init__(self, url: str, token: str) -> None:
        self.where = urllib.parse.urlsplit(url)
        self.token = token

    def ask(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, dict[str, Any], http.client.HTTPMessage]:
        """Status, JSON and headers of an answer; ``body`` is JSON unless it is bytes or an iterator."""
        connection = http.client.HTTPConnection(str(self.where.hostname), self.where.port, timeout=10)
        sent = {"Authorization": f"Bearer {self.token}", **headers}
        if body is not None and not isinstance(body, (bytes, Iterator)):
            body = json.dumps(body)
        try:
            connection.request(method, path, body=body, headers={k: v for k, v in sent.items() if v})
            answer = connection.getresponse()
            text = answer.read()
            assert answer.headers["Content-Type"] == "application/json"
            return answer.status, json.loads(text), answer.headers
        finally:
            connection.close()

    def get(self, path: str) -> Any:
        """The value of a reading."""
        status, answer, _ = self.ask("GET", path)
        assert status == 200, answer
        return answer["value"]

    def post(self, path: str, body: Any = None) -> Any:
        """The value of a command."""
        status, answer, _ = self.ask("POST", path, body)
        assert status == 200, answer
        return answer["value"]


@pytest.fixture
def exchange() -> Iterator[EmbeddedExchange]:
    """An exchange of two accounts over plain TCP."""
    with EmbeddedExchange(accounts=[ANN, BOB], markets=2, tls=False) as opened:
        yield opened


@pytest.fixture
def client(exchange: EmbeddedExchange) -> Iterator[Client]:
    """A client of its control."""
    with ControlServer(Control(exchange)) as server:
        yield Client(**server.description())


def session_on(exchange: EmbeddedExchange, number: int = 0) -> Session:
    """A session that is logged in."""
    session = Session(SessionSettings(**exchange.settings_for(number), socket_timeout=5))
    session.log_in()
    return session


def bid(session: Session, side: seto.Side = seto.SIDE_BUY) -> None:
    """Send an order for 10.00 at 25 %."""
    session.send(
        seto.OrderCreate(market_id=MARKET, contract_id=CONTRACT, side=side, price=2500, quantity=100_000)
    )
    session.flush()


# --- who may ask ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "Bearer wrong", "Basic {token}", "{token}", "Bearer {token}x", "Bearer \u00fc"],
)
@pytest.mark.parametrize("path", ["/", "/balances", "/nothing", "/a/b"])
def test_without_the_token_nothing_is_told(client: Client, header: str, path: str) -> None:
    """Not even which commands there are: 401, and how to ask."""
    for method in ("GET", "POST", "DELETE"):
        status, answer, headers = client.ask(method, path, Authorization=header.format(token=client.token))
        assert status == 401
        assert answer == {"error": "this needs the header 'Authorization: Bearer TOKEN'"}
        assert headers["WWW-Authenticate"].startswith("Bearer ")


def test_the_scheme_is_read_as_http_has_it(client: Client) -> None:
    """In any case, with spaces round the token."""
    status, _, _ = client.ask("GET", "/armed", Authorization=f"bearer   {client.token} ")
    assert status == 200


def test_every_server_has_a_token_of_its_own_and_shows_it_nowhere(exchange: EmbeddedExchange) -> None:
    """Neither ``repr`` nor its attributes have it; ``description`` does."""
    servers = [ControlServer(Control(exchange)) for _ in range(2)]
    tokens = {server.description()["token"] for server in servers}
    assert len(tokens) == 2
    assert all(len(token) >= 40 for token in tokens)
    for server in servers:
        shown = repr(server) + repr(vars(server))
        assert not [token for token in tokens if token in shown]


def test_it_listens_on_loopback_whatever_the_exchange_does() -> None:
    """An exchange for other machines has its control here all the same."""
    with (
        EmbeddedExchange(accounts=1, tls=False, host="0.0.0.0") as exchange,
        ControlServer(Control(exchange)) as server,
    ):
        assert server.url.startswith("http://127.0.0.1:")
        assert server._server is not None
        assert server._server.socket.getsockname()[0] == "127.0.0.1"


# --- its life -------------------------------------------------------------------------------------


def test_a_port_in_use_is_named(exchange: EmbeddedExchange) -> None:
    """With the address; starting leaves nothing behind."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1:{port}: "):
            ControlServer(Control(exchange), port=port).start()


def test_stopping_closes_every_connection(exchange: EmbeddedExchange) -> None:
    """One that says nothing, one that is half-way through its request; stopping twice is fine."""
    server = ControlServer(Control(exchange))
    server.start()
    port = urllib.parse.urlsplit(server.url).port
    lines = [socket.create_connection(("127.0.0.1", port)) for _ in range(2)]
    lines[1].sendall(b"POST /drop HTTP/1.1\r\nContent-Length: 100\r\n\r\n{")
    eventually(lambda: len(server._greenlets) == 2)
    server.stop()
    server.stop()
    for line in lines:
        line.settimeout(5)
        try:
            while line.recv(1000):
                pass
        except ConnectionResetError:
            pass
        line.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


# --- how it is asked ------------------------------------------------------------------------------


def test_the_index_lists_every_command(client: Client) -> None:
    """Each with its kind, how it is written and what it does."""
    commands = {command["name"]: command for command in client.get("/")}
    assert {command["kind"] for command in commands.values()} == {"reading", "fault", "verb", "session"}
    assert commands["events"]["usage"] == "events account=... [after=0] [limit=0]"
    assert all(set(command) == {"name", "kind", "usage", "text"} for command in commands.values())


def test_a_reading_is_asked_for_in_three_ways(client: Client) -> None:
    """By a query, by a body, in writing; the answers are the same."""
    name = urllib.parse.quote(ANN)
    by_query = client.get(f"/balances?account={name}")
    assert by_query == [{"account": ANN, "cash": "10000.00", "exposure": "0.00", "available": "10000.00"}]
    assert client.post("/balances", {"account": ANN}) == by_query
    assert client.post("/", {"command": f"balances account={ANN}"}) == by_query


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "sentence"),
    [
        ("GET", "/balancs", None, 404, "there is no command 'balancs'; did you mean balances?"),
        ("POST", "/balancs", None, 404, "there is no command 'balancs'; did you mean balances?"),
        ("POST", "/", {"command": "balancs"}, 404, "there is no command 'balancs'; did you mean balances?"),
        ("GET", "/a/b", None, 404, "there is nothing here: GET / lists every command"),
        ("GET", "/drop?account=" + ANN, None, 405, "drop changes something: use POST, not GET"),
        ("PUT", "/drop", None, 405, "only GET and POST are understood here"),
        ("DELETE", "/", None, 405, "only GET and POST are understood here"),
        ("OPTIONS", "/orders", None, 405, "only GET and POST are understood here"),
        ("GET", "/orders?account=a&account=b", None, 400, "account is there 2 times"),
        ("GET", "/orders?acount=a", None, 400, "orders has no argument 'acount'; did you mean account?"),
        ("GET", "/orders?account=nobody", None, 400, "no account here has the user name 'nobody'; there are"),
        ("POST", "/orders", b"{", 400, "the body is no JSON"),
        ("POST", "/orders", b"\xff", 400, "the body is no JSON"),
        ("POST", "/orders", b"[" * 60_000, 400, "the body is no JSON"),
        ("POST", "/orders", b"[]", 400, "the body must be a JSON table of arguments"),
        ("POST", "/", b"", 400, "a POST to / has one command in writing"),
        ("POST", "/", {"command": " "}, 400, "a POST to / has one command in writing"),
        ("POST", "/", {"command": 5}, 400, "a POST to / has one command in writing"),
        ("POST", "/", {"command": "drop", "account": ANN}, 400, "a POST to / has one command in writing"),
        ("POST", "/", {"command": "drop account"}, 400, "account"),
        ("POST", "/drop", {}, 400, "drop lacks account"),
        ("POST", "/settle", {"market_id": 1, "winners": []}, 400, "there is no market 1"),
        ("POST", "/drop", b" " * (MAX_BODY + 1), 413, f"the body has more than {MAX_BODY} bytes"),
    ],
)
def test_what_cannot_be_done_has_a_status_and_a_sentence(
    client: Client, method: str, path: str, body: Any, status: int, sentence: str
) -> None:
    """As JSON, whatever it was."""
    got, answer, headers = client.ask(method, path, body)
    assert got == status
    assert set(answer) == {"error"}
    assert sentence in answer["error"]
    assert (headers["Allow"] is not None) == (status == 405)


@pytest.mark.parametrize("over", [0, 1])
def test_a_body_that_announces_no_length_has_the_same_limit(client: Client, over: int) -> None:
    """Exactly as many bytes as allowed are read, one more is refused."""
    body = json.dumps({"account": ANN}).encode()
    body += b" " * (MAX_BODY + over - len(body))
    status, _, _ = client.ask("POST", "/balances", iter([body[:100], body[100:]]))
    assert status == (413 if over else 200)


def test_a_head_is_a_reading_without_its_value(client: Client) -> None:
    """As HTTP has it."""
    connection = http.client.HTTPConnection(str(client.where.hostname), client.where.port, timeout=10)
    connection.request("HEAD", "/armed", headers={"Authorization": f"Bearer {client.token}"})
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (200, b"")
    connection.close()


@pytest.mark.parametrize(
    "bytes_sent",
    [
        b"nonsense\r\n\r\n",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n",
        b"POST /drop HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01",
    ],
)
def test_what_is_no_request_is_refused_and_others_go_on(
    client: Client, bytes_sent: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    """The connection ends with an HTTP error or without a word, and nothing of it is printed."""
    with socket.create_connection((str(client.where.hostname), client.where.port), timeout=10) as line:
        line.sendall(bytes_sent)
        line.shutdown(socket.SHUT_WR)
        said = b""
        while data := line.recv(1000):
            said += data
    assert said == b"" or said.startswith(b"HTTP/1.1 4")
    assert client.get("/armed") == []
    assert capfd.readouterr() == ("", "")


def test_a_failure_of_ours_is_told_without_its_inside(
    client: Client, exchange: EmbeddedExchange, caplog: pytest.LogCaptureFixture
) -> None:
    """500 and where to look; the log has the rest."""
    exchange.exchange.truth.as_plain = lambda: 1 / 0  # type: ignore[method-assign, assignment, return-value]
    status, answer, _ = client.ask("GET", "/truth")
    assert (status, answer) == (500, {"error": "the exchange failed to do this; its log says why"})
    assert "ZeroDivisionError" in caplog.text


# --- what it can do -------------------------------------------------------------------------------


def test_a_whole_test_in_http(client: Client, exchange: EmbeddedExchange) -> None:
    """Orders match, the books and balances are read, the market is settled, the money is where it belongs."""
    ann, bob = session_on(exchange, 0), session_on(exchange, 1)
    bid(ann)
    eventually(lambda: client.get("/orders?live=true"))
    (book,) = client.get(f"/books?market_id={MARKET}&contract_id={CONTRACT}")
    assert book["bids"] == [{"price": 2500, "quantity": 100_000}]
    bid(bob, side=seto.SIDE_SELL)
    eventually(lambda: client.get("/trades"))
    events = client.get(f"/events?account={urllib.parse.quote(ANN)}&after=1")
    assert [event["name"] for event in events] == ["seto.order_executed"]
    client.post("/settle", {"market_id": MARKET, "winners": [CONTRACT]})
    cash = {row["account"]: row["cash"] for row in client.get("/balances")}
    assert cash == {ANN: "10007.50", BOB: "9992.50"}
    assert [market["state"] for market in client.get("/markets")] == ["SETTLED", "OPEN"]
    for session in (ann, bob):
        session.disconnect()


def test_connections_are_read(client: Client, exchange: EmbeddedExchange) -> None:
    """Who, since when, the next numbers both ways, what is followed, what waits."""
    began = time.monotonic()
    session = session_on(exchange)
    session.send(seto.MarketSubscribe(market_id=MARKET))
    session.send(seto.EventSubscribe(event_id=5))
    session.send(seto.MarketFeedSubscribe())
    session.flush()
    eventually(lambda: client.get("/connections")[0]["next_in"] == 5)
    (connection,) = client.get("/connections")
    assert connection["account"] == ANN
    assert connection["session"] == "UP"
    assert 0 <= connection["seconds"] <= time.monotonic() - began
    assert connection["next_out"] == 5  # login response, limits, quotes, state
    assert connection["subscriptions"] == {
        "markets": [MARKET],
        "events": [5],
        "price_feed": False,
        "market_feed": True,
    }
    assert connection["bytes_waiting"] == 0
    assert client.get(f"/connections?account={urllib.parse.quote(BOB)}") == []
    session.disconnect()


def test_faults_are_asked_for_and_seen(client: Client, exchange: EmbeddedExchange) -> None:
    """A frame is dropped, a connection is cut and kept away, and the truth has both."""
    session = session_on(exchange)
    client.post("/drop", {"account": ANN})
    assert client.get("/armed") == [f"drop account={ANN}"]
    bid(session)
    eventually(lambda: client.get("/truth")["faults"])
    assert client.post("/cut", {"account": ANN, "away": 60}) == 1
    with pytest.raises(LoginError, match="SERVICE_TEMPORARILY_UNAVAILABLE"):
        session_on(exchange)
    assert [fault["kind"] for fault in client.get("/truth")["faults"]] == ["drop", "cut", "refuse_login"]
    assert client.post("/admit", {"account": ANN}) is None
    session_on(exchange).disconnect()
    session.disconnect()


def test_sessions_end_as_asked(client: Client, exchange: EmbeddedExchange) -> None:
    """Logged out with a reason; refused while there is a downtime."""
    session = session_on(exchange)
    assert client.post("/log_out", {"account": ANN, "reason": "HEARTBEAT_TIMEOUT"}) == 1
    client.post("/begin_downtime")
    with pytest.raises(LoginError, match="DOWNTIME"):
        session_on(exchange)
    client.post("/end_downtime")
    session_on(exchange).disconnect()
    session.disconnect()


def test_a_restart_keeps_what_clients_were_told(client: Client, exchange: EmbeddedExchange) -> None:
    """Port and passwords are the same, and the control is there all the time; the books are as asked."""
    session = session_on(exchange)
    bid(session)
    eventually(lambda: client.get("/orders"))
    place = exchange.settings_for(0)
    assert client.post("/restart", {"keep": "all"}) == 1
    assert len(client.get("/orders")) == 1
    eventually(lambda: _logs_in(exchange))
    client.post("/", {"command": "restart keep=nothing"})
    assert client.get("/orders") == []
    eventually(lambda: _logs_in(exchange))
    assert exchange.settings_for(0) == place
    session.disconnect()


def _logs_in(exchange: EmbeddedExchange) -> bool:
    try:
        session_on(exchange).disconnect()
    except OSError:
        return False
    return True


def test_commands_are_logged_by_name_alone(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    """What was changed is in the log; what it was changed to may be a secret, and readings are no news."""
    caplog.set_level("INFO", "smarkets_pool.exchange.control")
    client.get("/balances")
    client.post("/deposit", {"account": ANN, "amount": "12.34"})
    client.post("/drop", {"account": ANN})
    assert [record.getMessage() for record in caplog.records] == ["verb deposit", "fault drop"]


def test_many_ask_at_once(client: Client) -> None:
    """A hundred connections at a time, more than are served at once: all get their answer."""
    answers = [gevent.spawn(client.get, "/armed") for _ in range(100)]
    gevent.joinall(answers, timeout=30)
    assert [answer.value for answer in answers] == [[]] * 100
