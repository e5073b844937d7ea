"""The command line, as processes: ready file, signals, demo, bad input."""

import json
import os
import pathlib
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from smarkets_pool.session import Session, SessionSettings
from tests.rig.waiting import eventually

COMMAND = [sys.executable, "-m", "smarkets_pool"]


def run(*arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """One command to its end."""
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=timeout)


class Served:
    """An exchange process with its ready file."""

    def __init__(self, folder: pathlib.Path, *arguments: str) -> None:
        self.ready = folder / "ready.json"
        self.process = subprocess.Popen(
            [*COMMAND, "exchange", "--port", "0", "--ready-file", str(self.ready), *arguments],
            stderr=subprocess.PIPE,
        )

    def description(self) -> dict[str, Any]:
        """What the ready file says, once it is there."""
        eventually(self.ready.exists, timeout=20)
        return json.loads(self.ready.read_text())

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, wait, return the exit status."""
        self.process.send_signal(number)
        try:
            return self.process.wait(10)
        finally:
            assert self.process.stderr is not None
            self.process.stderr.close()


@pytest.fixture
def served(tmp_path: pathlib.Path) -> Iterator[Served]:
    """A TLS exchange that is gone after the test."""
    exchange = Served(tmp_path)
    yield exchange
    if exchange.process.poll() is None:
        exchange.stop(signal.SIGKILL)


def test_the_ready_file_says_everything_a_client_needs(served: Served) -> None:
    """Host, port, TLS, CA, at least 4 accounts, 3 markets and 2 contracts each; mode 0600."""
    where = served.description()
    assert stat.S_IMODE(served.ready.stat().st_mode) == 0o600
    assert (where["host"], where["tls"]) == ("127.0.0.1", True)
    assert os.path.exists(where["ca_file"])
    assert len(where["accounts"]) >= 4
    assert all(set(login) == {"username", "password", "token"} for login in where["accounts"])
    assert len(where["markets"]) >= 3
    assert all(len(market["contract_ids"]) >= 2 for market in where["markets"])
    assert served.stop() == 0


def test_a_client_logs_in_with_what_the_ready_file_says(served: Served) -> None:
    """TLS with the CA of the file, verified, by password and by token."""
    where = served.description()
    first, second = where["accounts"][:2]
    place = {"host": where["host"], "port": where["port"], "ca_file": where["ca_file"]}
    for credentials in (
        {"username": first["username"], "password": first["password"]},
        {"token": second["token"]},
    ):
        session = Session(SessionSettings(**credentials, **place))
        session.log_in()
        assert session.session
        session.disconnect()
    assert served.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_and_removes_its_files(served: Served, number: int) -> None:
    """SIGTERM and Ctrl-C end it with status 0; ready file and CA file are gone."""
    where = served.description()
    assert served.stop(number) == 0
    assert not served.ready.exists()
    assert not os.path.exists(where["ca_file"])


def test_no_tls_serves_plain_tcp(tmp_path: pathlib.Path) -> None:
    """--no-tls: no CA, and a plain session logs in."""
    exchange = Served(tmp_path, "--no-tls", "--accounts", "7")
    try:
        where = exchange.description()
        assert (where["tls"], where["ca_file"], len(where["accounts"])) == (False, None, 7)
        login = where["accounts"][6]
        session = Session(
            SessionSettings(
                login["username"], login["password"], host=where["host"], port=where["port"], ssl=False
            )
        )
        session.log_in()
        session.disconnect()
    finally:
        assert exchange.stop() == 0


def test_a_port_in_use_is_named() -> None:
    """The error says which address and why; exit status 1, no traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = run("exchange", "--port", str(port))
    assert said.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in said.stderr
    assert "Traceback" not in said.stderr


def test_a_ready_file_that_cannot_be_written_is_named(tmp_path: pathlib.Path) -> None:
    """A missing folder is an error that names the file."""
    path = tmp_path / "missing" / "ready.json"
    said = run("exchange", "--port", "0", "--ready-file", str(path))
    assert said.returncode == 1
    assert str(path) in said.stderr
    assert "Traceback" not in said.stderr


@pytest.mark.parametrize("text", ["", '{"host": "127.0.0.1", "port": 1, "accounts": [], "tls": true}'])
def test_a_ready_file_of_a_killed_exchange_is_removed_at_the_start(tmp_path: pathlib.Path, text: str) -> None:
    """Before anything else can go wrong: who waits for the file is not led to where nobody listens."""
    ready = tmp_path / "ready.json"
    ready.write_text(text)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        said = run("exchange", "--port", str(taken.getsockname()[1]), "--ready-file", str(ready))
    assert "cannot listen" in said.stderr
    assert not ready.exists()


@pytest.mark.parametrize("text", ["my notes", "[1]", '{"host": "example.com"}', "\x00"])
def test_a_file_that_is_no_ready_file_is_left_alone(tmp_path: pathlib.Path, text: str) -> None:
    """Somebody's own file is named, and is as it was."""
    path = tmp_path / "notes"
    path.write_text(text)
    said = run("exchange", "--port", "0", "--ready-file", str(path))
    assert said.returncode == 1
    assert f"the file {str(path)!r} is there already: remove it, or name another" in said.stderr
    assert path.read_text() == text


@pytest.mark.parametrize(
    "arguments",
    [("exchange", "--accounts", "0"), ("demo", "--seconds", "-1"), ("exchange", "--port", "x"), ("fly",)],
)
def test_bad_arguments_are_refused(arguments: tuple[str, ...]) -> None:
    """Exit status 2 and the usage line."""
    said = run(*arguments)
    assert said.returncode == 2
    assert "Usage:" in said.stderr


def test_control_imports_no_exchange(tmp_path: pathlib.Path) -> None:
    """A script may ask often: the command does not wait for what it does not need."""
    program = (
        "import sys; from smarkets_pool.__main__ import main\n"
        "try:\n    main()\nfinally:\n    print(*sys.modules)"
    )
    said = subprocess.run(
        [sys.executable, "-c", program, "control", str(tmp_path / "ready.json")],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "cannot be read" in said.stderr
    imported = said.stdout.split()
    assert "smarkets_pool.cli.control" in imported
    unneeded = ("smarkets_pool.exchange", "smarkets_pool.pool", "smarkets_pool.cli.demo", "trustme", "google")
    assert [name for name in imported if name.startswith(unneeded)] == []


def test_the_demo_tells_its_story_and_leaves_no_process() -> None:
    """A short demo: exit status 0, nothing lost, nothing twice, ten executions while away."""
    said = run("demo", "--accounts", "12", "--seconds", "3", "--seed", "7")
    assert said.returncode == 0, said.stdout + said.stderr
    rows = {
        line[2:34].strip(): int(line[34:44]) for line in said.stdout.splitlines() if line.endswith("  ok")
    }
    assert rows["events lost"] == rows["events handled twice"] == rows["handler errors"] == 0
    assert rows["executions while away"] >= 10
    assert rows["gaps found"] > 0
    pid = int(said.stdout.split("process ")[1].split(",")[0])
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_the_exchange_ends_with_its_parent() -> None:
    """When whoever holds its standard input dies, it ends by itself."""
    child = subprocess.Popen(
        [*COMMAND, "exchange", "--port", "0", "--control-stdin"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert child.stdin is not None and child.stdout is not None and child.stderr is not None
    child.stdin.write(b'{"do": "truth"}\n{"do": "nothing"}\n{"do": "cut"}\nnot json\n[]\n')
    child.stdin.flush()
    answers = [json.loads(child.stdout.readline()) for _ in range(5)]
    assert [answer["ok"] for answer in answers] == [True, False, False, False, False]
    assert "there is no command 'nothing'" in answers[1]["error"]
    child.stdin.close()
    assert child.wait(10) == 0
    child.stdout.close()
    child.stderr.close()
