"""``smarkets-pool exchange`` with everything that can be chosen, and ``smarkets-pool control``."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import pathlib
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from click.testing import CliRunner, Result
from gevent.pool import Pool
from gevent.pywsgi import WSGIServer

from smarkets_pool import seto
from smarkets_pool.cli.assignments import assigned, described
from smarkets_pool.cli.main import cli
from smarkets_pool.exceptions import ConfigError, LoginError
from smarkets_pool.exchange import ActivitySettings, EmbeddedExchange, ExchangeSettings
from smarkets_pool.exchange.control import Control
from smarkets_pool.exchange.control.http import ControlServer
from smarkets_pool.exchange.faults import FAULTS
from smarkets_pool.session import Session, SessionSettings
from tests.rig.waiting import eventually

COMMAND = (sys.executable, "-m", "smarkets_pool")
ANN = "trader-1@example.com"


@contextlib.contextmanager
def serving(folder: pathlib.Path, *arguments: str, killed: bool = False) -> Iterator[dict[str, Any]]:
    """An exchange process: what its ready file says, and where that is. It is ended in order, or killed."""
    ready = folder / "ready.json"
    with (folder / "errors").open("w+") as errors:
        process = subprocess.Popen(
            [*COMMAND, "exchange", "--port", "0", "--ready-file", str(ready), *arguments], stderr=errors
        )
        try:
            eventually(lambda: ready.exists() or process.poll() is not None, timeout=30)
            assert process.poll() is None, (folder / "errors").read_text()
            assert stat.S_IMODE(ready.stat().st_mode) == 0o600
            yield {**json.loads(ready.read_text()), "ready": str(ready)}
        finally:
            process.send_signal(signal.SIGKILL if killed else signal.SIGTERM)
            assert process.wait(20) == (-signal.SIGKILL if killed else 0)
    assert ready.exists() == killed
    ready.unlink(missing_ok=True)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """One command to its end."""
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=60)


def ask(where: dict[str, Any], *words: str) -> Any:
    """The answer of ``smarkets-pool control``."""
    said = CliRunner().invoke(cli, ["control", where["ready"], *words])
    assert said.exit_code == 0, said.output
    return json.loads(said.stdout)


def session_on(where: dict[str, Any], number: int = 0) -> Session:
    """A session that is not connected yet."""
    login = where["accounts"][number]
    return Session(
        SessionSettings(
            login["username"],
            login["password"],
            host=where["host"],
            port=where["port"],
            ssl=where["tls"],
            ca_file=where["ca_file"],
            socket_timeout=5,
        )
    )


# --- choosing -------------------------------------------------------------------------------------


def test_what_is_chosen_is_what_runs(tmp_path: pathlib.Path) -> None:
    """Settings of every kind, short ones, faults at once, house traders: the control reads them."""
    with serving(
        tmp_path,
        *("--no-tls", "--accounts", "2", "--markets", "1", "--control", "0", "--seed", "5"),
        *("--depth", "7", "--heartbeat", "1.5", "--setting", "netting=market"),
        *("--setting", "opening_balance=12.50", "--setting", "honours_maq=no"),
        *("--setting", "throttle_rate=100", "--setting", "settlement_reason=the end"),
        *("--fault", f"drop account={ANN} frames=3", "--fault", "skip account=* numbers=2"),
        *("--rate", "quotes=50", "--rate", "lifecycle=false"),
    ) as where:
        settings = ask(where, "settings")
        chosen = {
            "visible_depth": 7,
            "heartbeat_after": 1.5,
            "netting": "market",
            "opening_balance": "12.50",
            "honours_maq": False,
            "throttle_rate": 100,
            "settlement_reason": "the end",
        }
        assert {name: settings[name] for name in chosen} == chosen
        assert ask(where, "balances", f"account={ANN}")[0]["cash"] == "12.50"
        assert ask(where, "armed") == [f"drop account={ANN} frames=3", "skip account=* numbers=2"]
        eventually(lambda: ask(where, "counters")["orders_accepted"] > 10, timeout=20)
        assert [market["state"] for market in ask(where, "markets")] == ["OPEN"]


def test_a_fault_comes_after_its_time(tmp_path: pathlib.Path) -> None:
    """Before it the login is fine, afterwards it is refused."""
    fault = f"refuse_login account={ANN} reason=UNVERIFIED after=0.3"
    with serving(tmp_path, "--no-tls", "--control", "0", "--fault", fault) as where:
        eventually(lambda: ask(where, "armed"), timeout=20)
        session = session_on(where)
        with pytest.raises(LoginError, match="UNVERIFIED"):
            session.log_in()
        session.disconnect()


def test_a_restart_over_the_control_keeps_what_clients_know(tmp_path: pathlib.Path) -> None:
    """Port, CA and passwords: who logged in before logs in again, by TLS."""
    with serving(tmp_path, "--control", "0") as where:
        before = session_on(where)
        before.log_in()
        assert ask(where, "restart", "keep=nothing", "away=0.2") == 1
        before.disconnect()

        def back() -> bool:
            session = session_on(where)
            try:
                session.log_in()
            except OSError:
                return False
            finally:
                session.disconnect()
            return True

        eventually(back, timeout=20)
        assert ask(where, "truth")["faults"][0]["kind"] == "restart"


def test_the_control_token_is_in_the_ready_file_alone(tmp_path: pathlib.Path) -> None:
    """Not in the configuration for ``run``, not in what the process says; without it there is no answer."""
    config = tmp_path / "accounts.toml"
    with serving(tmp_path, "--control", "0", "--config-file", str(config)) as where:
        control = where["control"]
        assert set(control) == {"url", "token"}
        assert control["url"].startswith("http://127.0.0.1:")
        eventually(config.exists)
        assert control["token"] not in config.read_text()
        ask(where, "armed")
    assert control["token"] not in (tmp_path / "errors").read_text()


def test_books_and_credentials_outlive_a_crash(tmp_path: pathlib.Path) -> None:
    """After a kill the next exchange with the same --state is the same one to its clients."""
    state = ("--state", str(tmp_path / "books"), "--control", "0", "--markets", "1")
    log = tmp_path / "books-wal"
    place = {"market_id": 100_000, "contract_id": 200_000, "side": seto.SIDE_BUY, "price": 2500}
    with serving(tmp_path, *state, killed=True) as before:
        session = session_on(before)
        session.log_in()
        size = log.stat().st_size
        session.send(seto.OrderCreate(quantity=100_000, **place))
        session.flush()
        orders = eventually(lambda: ask(before, "orders"))
        eventually(lambda: log.stat().st_size > size + 4096)  # a page, behind the log's own head
    session.disconnect()
    with serving(tmp_path, *state) as after:
        assert after["accounts"] == before["accounts"]
        assert ask(after, "orders") == orders
        again = session_on(after)
        again.log_in()
        again.disconnect()
    refused = run("exchange", "--port", "0", *state, "--depth", "3", "--ready-file", str(tmp_path / "no"))
    assert refused.returncode == 1
    assert "belongs to another exchange: its visible_depth is 5 and not 3" in refused.stderr


# --- choosing badly -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "status", "sentences"),
    [
        (("--setting", "vsible_depth=3"), 1, ["--setting 'vsible_depth'", "did you mean visible_depth?"]),
        (
            ("--setting", "netting=some", "--setting", "throttle_rate=a", "--rate", "makers=1.5"),
            1,
            ["netting: 'some' is not none or market", "throttle_rate: 'a' is not a whole number"],
        ),
        (("--setting", "throttle_rate=0"), 1, ["throttle_rate is 0 and must be a whole number from 1"]),
        (("--rate", "quots=1"), 1, ["--rate 'quots'", "did you mean quotes?"]),
        (("--rate", "quotes=-1"), 1, ["quotes is -1.0 and must be a number from 0"]),
        (("--fault", "dorp account=a"), 2, ["'--fault'", "there is no fault 'dorp'; did you mean drop?"]),
        (("--fault", "drop account=a frames=x"), 2, ["frames is 'x' and must be a whole number"]),
        (("--fault", "drop account=a after=soon"), 2, ["after is a number of seconds from 0, once"]),
        (("--fault", "drop account=a after=1 after=2"), 2, ["after is a number of seconds from 0, once"]),
        (("--fault", "drop account=a"), 1, ["no account here has the user name 'a'"]),
        (("--fault", "drop account=a after=5"), 1, ["no account here has the user name 'a'"]),
        (("--no-tls", "--fault", "certificate kind=expired"), 1, ["certificate"]),
        (("--control", "0"), 2, ["--control needs --ready-file"]),
        (("--control", "65536", "--ready-file", "x"), 2, ["65536 is not in the range"]),
        (("--depth", "-1"), 2, ["-1 is not in the range"]),
        (("--depth", "10001"), 1, ["visible_depth is 10001 and must be a whole number from 0 to 10000"]),
    ],
)
def test_what_cannot_be_chosen_is_named(
    arguments: tuple[str, ...], status: int, sentences: list[str], tmp_path: pathlib.Path
) -> None:
    """Before anything listens; with what there is instead, and without a traceback."""
    said = run("exchange", "--port", "0", *arguments)
    assert said.returncode == status, said.stderr
    for sentence in sentences:
        assert sentence in said.stderr
    assert "Traceback" not in said.stderr
    assert "listening" not in said.stderr


def test_a_control_port_in_use_is_named(tmp_path: pathlib.Path) -> None:
    """And no ready file is left."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ready = tmp_path / "ready.json"
        said = run("exchange", "--port", "0", "--control", str(port), "--ready-file", str(ready))
    assert said.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in said.stderr
    assert not ready.exists()


def test_without_flask_only_the_control_is_missing(tmp_path: pathlib.Path) -> None:
    """The sentence says what to install; without --control nobody asks for it."""
    program = (
        "import sys; sys.modules['flask'] = None; sys.argv[1:] = {!r}\n"
        "from smarkets_pool.__main__ import main; main()"
    )
    ready = str(tmp_path / "ready.json")
    asked = ["exchange", "--port", "0", "--control", "0", "--ready-file", ready]
    said = subprocess.run(
        [sys.executable, "-c", program.format(asked)], capture_output=True, text=True, timeout=60
    )
    assert said.returncode == 1
    assert "needs flask" in said.stderr and "[exchange]" in said.stderr
    assert "Traceback" not in said.stderr
    said = subprocess.run(
        [sys.executable, "-c", program.format(["exchange", "--list-faults"])],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert said.returncode == 0, said.stderr


# --- assignments ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        ([], {}),
        (["history_limit=5"], {"history_limit": 5}),
        ([" heartbeat_after = 0.5 "], {"heartbeat_after": 0.5}),
        (["opening_balance=0.00000001"], {"opening_balance": Decimal("0.00000001")}),
        (["honours_maq=True", "quotes_first=off"], {"honours_maq": True, "quotes_first": False}),
        (["settlement_reason=a=b, c"], {"settlement_reason": "a=b, c"}),
        (["gap_answer=logout"], {"gap_answer": "logout"}),
    ],
)
def test_an_assignment_is_read_by_the_fields_type(texts: list[str], found: dict[str, Any]) -> None:
    """Numbers, texts, yes and no, and choices; what comes out makes settings."""
    assert assigned(ExchangeSettings, texts, "--setting") == found
    ExchangeSettings(**found)


def test_every_problem_of_the_assignments_is_told() -> None:
    """One sentence each, with the option they were given to."""
    texts = ["nothing", "=5", "zzz=1", "history_limit=1.5", "opening_balance=x", "honours_maq=maybe"]
    texts += ["throttle_rate=1", "throttle_rate=2"]
    with pytest.raises(ConfigError) as caught:
        assigned(ExchangeSettings, texts, "--setting")
    assert list(caught.value.problems) == [
        "--setting 'nothing': write NAME=VALUE",
        "--setting '': there is none of that name; --list-settings shows all",
        "--setting 'zzz': there is none of that name; --list-settings shows all",
        "--setting history_limit: '1.5' is not a whole number",
        "--setting opening_balance: 'x' is not a number",
        "--setting honours_maq: 'maybe' is not true or yes or on or false or no or off",
        "--setting 'throttle_rate': it is there twice",
    ]


@pytest.mark.parametrize("settings", [ExchangeSettings, ActivitySettings])
def test_every_default_can_be_assigned(settings: type[Any]) -> None:
    """What the list shows is what an option takes; each has a text."""
    rows = described(settings)
    assert all(text for _, text in rows)
    assert settings(**assigned(settings, [shown for shown, _ in rows], "--setting")) == settings()


def test_the_lists_have_everything() -> None:
    """Every setting, every rate, every fault with its parameters."""
    listed = CliRunner().invoke(cli, ["exchange", "--list-settings"])
    assert listed.exit_code == 0
    for settings in (ExchangeSettings, ActivitySettings):
        for field in dataclasses.fields(settings):
            assert f"\n{field.name}=" in listed.stdout
    listed = CliRunner().invoke(cli, ["exchange", "--list-faults"])
    assert listed.exit_code == 0
    for kind in FAULTS.values():
        assert f"{kind.name} " in listed.stdout or f"{kind.name}\n" in listed.stdout
        assert all(f"    {parameter.name} " in listed.stdout for parameter in kind.parameters)


# --- control --------------------------------------------------------------------------------------


@pytest.fixture
def ready(tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    """The ready file of an exchange in this process."""
    with (
        EmbeddedExchange(accounts=1, markets=1, tls=False) as exchange,
        ControlServer(Control(exchange)) as server,
    ):
        path = tmp_path / "ready.json"
        path.write_text(json.dumps({**exchange.description(), "control": server.description()}))
        yield path


def control(path: pathlib.Path, *words: str) -> Result:
    """The command in this process."""
    return CliRunner().invoke(cli, ["control", str(path), *words])


def test_control_lists_what_there_is(ready: pathlib.Path) -> None:
    """Four kinds, each command as it is written."""
    said = control(ready)
    assert said.exit_code == 0
    for line in ("Readings: ", "Faults: ", "Verbs: ", "  settle market_id=...", "  log_out account=..."):
        assert f"\n{line}" in f"\n{said.stdout}"


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (("counters",), None),
        (("balances", f"account={ANN}"), [{"account": ANN, "cash": "10000.00", "exposure": "0.00"}]),
        ((f"balances account={ANN}",), [{"account": ANN, "available": "10000.00"}]),
        (("drop", f"account={ANN}", "frames=2"), 0),
        (("settle", "market_id=100000", "winners=[200000]"), None),
        (("deposit", f"account={ANN}", "amount=-1.50"), None),
        (("set_market_state market_id=100000 state=HALTED", 'reason="a goal, or two"'), None),
    ],
)
def test_control_answers_in_json(ready: pathlib.Path, words: tuple[str, ...], answer: Any) -> None:
    """Words as the shell has them, or all of it in quotes."""
    said = control(ready, *words)
    assert said.exit_code == 0, said.output
    got = json.loads(said.stdout)
    if isinstance(answer, list):
        assert {**got[0], **answer[0]} == got[0]
    elif words != ("counters",):
        assert got == answer


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("setle", "market_id=1"), "there is no command 'setle'; did you mean settle?"),
        (("drop", "accont=x"), "drop has no parameter 'accont'; did you mean account?"),
        (("orders", "x"), "after orders come words of the form key=value, not 'x'"),
        (("orders", "account=nobody"), "no account here has the user name 'nobody'"),
    ],
)
def test_control_says_what_was_refused(ready: pathlib.Path, words: tuple[str, ...], sentence: str) -> None:
    """Exit status 1, and the exchange's own sentence."""
    said = control(ready, *words)
    assert said.exit_code == 1
    assert sentence in said.stderr
    assert said.stdout == ""


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "cannot be read (No such file or directory)"),
        ("{", "is no ready file of an exchange"),
        ("[]", "has no control: start it with --control PORT"),
        ('{"control": {"url": "x"}}', "has no control: start it with --control PORT"),
        ('{"control": {"url": "http://127.0.0.1:1", "token": "the-token"}}', "127.0.0.1:1 cannot be reached"),
        ('{"control": {"url": "http://[", "token": "the-token"}}', "is no ready file of an exchange"),
    ],
)
def test_control_without_an_exchange_says_so(tmp_path: pathlib.Path, text: str | None, sentence: str) -> None:
    """What is wrong with the file, or with what it leads to; never what stands in it."""
    path = tmp_path / "ready.json"
    if text is not None:
        path.write_text(text)
    said = control(path, "armed")
    assert said.exit_code == 1
    assert sentence in said.stderr
    assert "the-token" not in said.output


def test_control_waits_no_longer_than_it_is_told(tmp_path: pathlib.Path) -> None:
    """An exchange that accepts and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        place = {"url": f"http://127.0.0.1:{silent.getsockname()[1]}", "token": "t"}
        path = tmp_path / "ready.json"
        path.write_text(json.dumps({"control": place}))
        said = control(path, "--timeout", "0.2", "armed")
    assert said.exit_code == 1
    assert "gave no answer within 0.2 s" in said.stderr


def test_what_answers_and_is_no_exchange_is_not_believed(tmp_path: pathlib.Path) -> None:
    """Something else has the port by now."""

    def other(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "application/json")])
        return [b"[1]"]

    server = WSGIServer(("127.0.0.1", 0), other, log=None, spawn=Pool(2))
    server.start()
    path = tmp_path / "ready.json"
    path.write_text(json.dumps({"control": {"url": f"http://127.0.0.1:{server.server_port}", "token": "t"}}))
    said = control(path, "armed")
    server.stop(timeout=0)
    assert said.exit_code == 1
    assert "cannot be reached" in said.stderr
