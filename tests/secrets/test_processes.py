"""No secret in anything a process of ours says: ``demo``, ``run`` and ``exchange``, in every view."""

import http.client
import json
import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import urllib.parse
from typing import Any

import pytest

from smarkets_pool import eto, seto
from smarkets_pool.config import read_text
from smarkets_pool.exceptions import Error, SocketDisconnected
from smarkets_pool.exchange import EmbeddedExchange, Login
from smarkets_pool.session import Session, SessionSettings
from smarkets_pool.wire.payloads import eto_payload
from tests.rig.demos import demos, planted, planting
from tests.rig.haystack import Haystack, about, without_sequences
from tests.rig.terminals import Terminal
from tests.rig.trouble import CANARY
from tests.rig.waiting import eventually

COMMAND = (sys.executable, "-m", "smarkets_pool")
#: Secrets with characters that a shell, a format, TOML, JSON or a terminal might trip over.
ODD = [
    "one-\"double\"-'single'",
    "two-back\\slash\\n-%s-%(x)d-{0}",
    "three-é€ü-日本-<&>;$(x)`",
    "four-a+b/c=d?e&f",
]
PASSWORDS = [f"pass-{odd}" for odd in ODD]
TOKENS = [f"token-{odd}" for odd in ODD]
WRONG = [f"wrong-{odd}" for odd in ODD]

#: A bot that says everything it can get hold of, in every way it has, and fails.
BOT = """
import logging, sys, warnings

def setup(pool):
    @pool.on("member.up")
    @pool.on("member.down")
    def say(delivery):
        account = delivery.member.account
        everything = [delivery, vars(delivery.member), vars(account), vars(account.settings), vars(pool)]
        everything.append(pool.stats())
        print("printed", everything)
        print("complained", everything, file=sys.stderr)
        logging.getLogger("the.bots.own").error("logged for %s: %r", delivery.account, everything)
        raise ValueError(repr(everything))
"""


@pytest.fixture
def exchange():
    """An exchange whose first accounts have odd secrets."""
    with EmbeddedExchange(accounts=1) as opened:
        opened.logins = [
            Login(f"odd-{number}@example.com", *pair)
            for number, pair in enumerate(zip(PASSWORDS, TOKENS, strict=True))
        ]
        for login in opened.logins:
            opened.exchange.accounts.add(login.username, login.password, login.token)
        yield opened


def all_texts(output: str) -> list[str]:
    """What was said as it is, and as a terminal would put it together."""
    return [output, without_sequences(output)]


def test_the_demo_says_no_secret_in_any_view():
    """Both streams of four demos, one under ``python -X dev``, one with every frame logged."""
    haystack = Haystack(planted(24))
    for view, demo in demos().items():
        assert demo.secrets == (8 if view == "live" else 24)
        haystack.add(f"demo, {view}: output", *all_texts(demo.output))
        haystack.add(f"demo, {view}: errors", demo.errors)
    assert "out seto.login seq 1" in demos()["json"].errors
    haystack.add("demo, json: errors", "accounts are up")
    print(f"\n{haystack}")
    silent = {f"demo, {view}: errors" for view in ("lines", "live", "stuck")} | {"demo, stuck: output"}
    haystack.check("accounts are up", without_canary=silent)


# --- run --------------------------------------------------------------------------------------------


class Bot:
    """``run`` with the bot that says everything, every level logged, and a log file."""

    def __init__(self, folder: pathlib.Path, exchange: EmbeddedExchange, view: str) -> None:
        folder.mkdir()
        self.folder, self.exchange, self.view = folder, exchange, view
        (folder / "bot.py").write_text(BOT)
        self._write(PASSWORDS[2])
        self.log = folder / "log"
        command = [*COMMAND, "-vv", "run", str(folder / "accounts.toml"), "--handlers", "bot"]
        command += ["--log-file", str(self.log), *([] if view == "live" else [f"--{view}"])]
        env = {**os.environ, "PYTHONIOENCODING": "utf-8", "TEST_SECRET": PASSWORDS[1]}
        env["PYTHONPATH"] = os.pathsep.join([str(folder), env.get("PYTHONPATH", "")])
        self.terminal: Terminal | None = None
        if view == "live":
            self.terminal = Terminal(*command, columns=140, rows=40, env=env)
            self.process = self.terminal.process
        else:
            self.output = (folder / "output").open("w+", encoding="utf-8")
            self.errors = (folder / "errors").open("w+", encoding="utf-8")
            self.process = subprocess.Popen(command, stdout=self.output, stderr=self.errors, env=env)

    def _write(self, password: str, more: str = "") -> None:
        def account(name: str, *lines: str) -> str:
            return "\n".join([f"[accounts.{name}]", *lines])

        secret = self.folder / "secret"
        secret.touch(0o600)
        secret.write_text(PASSWORDS[0], encoding="utf-8")
        named = [f"username = {json.dumps(login.username)}" for login in self.exchange.logins]
        text = "\n".join(
            [
                "[defaults]",
                f"host = {json.dumps(self.exchange.host)}",
                f"port = {self.exchange.port}",
                f"ca_file = {json.dumps(self.exchange.ca_file)}",
                account(CANARY, named[0], 'password = { file = "secret" }'),
                account("b", named[1], 'password = { env = "TEST_SECRET" }'),
                account("c", named[2], f"password = {json.dumps(password)}"),
                account("d", f"token = {json.dumps(TOKENS[3])}"),
                account("wrong", named[3], f"password = {json.dumps(WRONG[0])}"),
                account("bad-token", f"token = {json.dumps(WRONG[1])}"),
                more,
            ]
        )
        path = self.folder / "new"
        path.touch(0o600)
        path.write_text(text, encoding="utf-8")
        path.rename(self.folder / "accounts.toml")

    def logged(self, text: str, times: int = 1) -> None:
        """Wait for a line of the log file."""
        eventually(lambda: self.log.exists() and self.log.read_text().count(text) >= times, timeout=30)

    def live(self) -> None:
        """Up, refused, another password by SIGHUP, a file that is broken, and the end."""
        self.logged("failed on member.up", 4)
        self.logged("given up", 2)
        self._write(WRONG[2])
        self.process.send_signal(signal.SIGHUP)
        self.logged("reloaded: changed c")
        self.logged("given up", 3)
        self._write(WRONG[3], f"[defaults.{json.dumps('x')}]\npassword = {json.dumps(WRONG[3])}\npasword = 5")
        self.process.send_signal(signal.SIGHUP)
        self.logged("not reloaded")
        self.process.send_signal(signal.SIGTERM)

    def said(self) -> dict[str, str]:
        """Everything by sink, when it has ended."""
        if self.terminal is not None:
            with self.terminal:
                assert self.terminal.end() == 0
                shown = self.terminal.text
            return {"terminal": shown, "log file": self.log.read_text()}
        assert self.process.wait(30) == 0
        found = {"log file": self.log.read_text()}
        for sink, file in (("output", self.output), ("errors", self.errors)):
            file.seek(0)
            found[sink] = file.read()
            file.close()
        return found


def test_run_says_no_secret_in_any_view(exchange: EmbeddedExchange, tmp_path: pathlib.Path) -> None:
    """Lines, JSON and the live table, each with every level logged, while handlers say all they can reach."""
    haystack = Haystack([*PASSWORDS, *TOKENS, *WRONG])
    bots = [Bot(tmp_path / view, exchange, view) for view in ("lines", "json", "live")]
    for bot in bots:
        bot.live()
    for bot in bots:
        for sink, text in bot.said().items():
            haystack.add(f"run, {bot.view}: {sink}", *all_texts(text))
            if sink in ("log file", "errors"):
                assert "out seto.login seq 1, " in text
    print(f"\n{haystack}")
    haystack.check(CANARY)


#: Configurations with secrets where they do not belong; each has the canary in what is said about it.
MISTAKES = {
    "everywhere": f"""
        [defaults]
        password = "{WRONG[3]}"
        tokn = "{WRONG[3]}"
        [accounts.{CANARY}]
        username = "a"
        password = ["{WRONG[3]}"]
        token = {{ evn = "{WRONG[3]}" }}
        pasword = "{WRONG[3]}"
        [accounts.{CANARY}.password]
        """,
    "as the name of a variable": f"""
        [accounts.{CANARY}]
        username = "a"
        password = {{ env = "{WRONG[3]}" }}
        """,
    "not ended": f"""
        [accounts.{CANARY}]
        username = "a"
        password = "{WRONG[3]}
        """,
    "in no quotes": f"""
        [accounts.{CANARY}]
        token = {WRONG[3]}
        """,
    "that others can read": f"""
        [accounts.{CANARY}]
        username = "a"
        password = "{WRONG[3]}"
        [accounts.b]
        token = '{WRONG[3]}'
        port = 0
        """,
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_no_problem_of_a_file_quotes_a_secret(mistake: str) -> None:
    """Whatever is wrong with it, and wherever the secret stands."""
    haystack = Haystack([WRONG[3]])
    config = read_text(textwrap.dedent(MISTAKES[mistake]), path=CANARY, readable_by="everybody (mode 0644)")
    assert config.problems
    haystack.add(f"a secret {mistake}", *map(str, config.problems), *about(config))
    haystack.check(CANARY)


def test_a_run_that_cannot_start_says_no_secret(tmp_path: pathlib.Path) -> None:
    """Every mistake in one file that others can read, and no handlers: exit 2 and what is wrong."""
    path = tmp_path / f"{CANARY}.toml"
    path.touch(0o644)
    path.write_text(textwrap.dedent(MISTAKES["everywhere"]))
    command = [*COMMAND, "-vv", "run", str(path), "--handlers", "no_such_module"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert (said.returncode, said.stdout) == (2, "")
    haystack = Haystack([WRONG[3]])
    haystack.add("run that cannot start: errors", said.stderr)
    haystack.check(CANARY)


# --- exchange ---------------------------------------------------------------------------------------


def test_the_exchange_says_its_secrets_in_its_two_files_alone(tmp_path: pathlib.Path) -> None:
    """Good and bad logins, one too many, commands in every way: nothing it says has one, at any level."""
    ready, config = tmp_path / "ready.json", tmp_path / "accounts.toml"
    canary = "trader-1@example.com"
    process = subprocess.Popen(
        [
            *(*COMMAND, "-vv", "exchange", "--port", "0", "--accounts", "2", "--control-stdin"),
            *("--control", "0", "--activity", "--ready-file", str(ready), "--config-file", str(config)),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=planting(tmp_path),
    )
    try:
        eventually(config.exists, timeout=20)
        where = json.loads(ready.read_text())
        secrets = [login[key] for login in where["accounts"] for key in ("password", "token")]
        secrets.append(where["control"]["token"])
        assert secrets == planted(5)
        assert all(json.dumps(login["password"]) in config.read_text() for login in where["accounts"])
        _log_in_well_and_badly(where, canary, secrets)
        answers = _ask_well_and_badly(where["control"], canary)
        asked = [_control(ready, *words) for words in ((), ("balances", f"account={canary}"), (canary,))]
        commands = [{"do": "truth"}, {"do": canary}, {"do": "cut", "account": canary}, {"do": "drop"}]
        said = b"".join(json.dumps(command).encode() + b"\n" for command in commands) + b"{\n"
        output, errors = process.communicate(said, timeout=20)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    assert "seto.login where no login was due" in errors.decode()
    haystack = Haystack([*secrets, WRONG[0], WRONG[1]])
    haystack.add("exchange: control", output.decode())
    haystack.add("exchange: control over HTTP", *answers)
    haystack.add("control: output", asked[1].stdout, asked[0].stdout)
    haystack.add("control: errors", asked[2].stderr)
    haystack.add("exchange: errors", errors.decode())
    print(f"\n{haystack}")
    haystack.check(canary)


def _control(ready: pathlib.Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, "-vv", "control", str(ready), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=30)


def _ask_well_and_badly(place: dict[str, str], canary: str) -> list[str]:
    """What the control answers to whoever has its token, has none, or has another."""
    requests: list[tuple[str, str, Any]] = [
        ("GET", "/", None),
        ("GET", f"/{canary}", None),
        ("GET", f"/events?account={canary}", None),
        ("GET", "/connections", None),
        ("GET", "/settings", None),
        ("GET", "/truth", None),
        ("GET", f"/drop?account={canary}", None),
        ("PUT", "/drop", None),
        ("POST", "/drop", {"account": canary}),
        ("POST", "/drop", {"account": place["token"][:3]}),
        ("POST", "/", {"command": f"suspend_account account={canary}"}),
        ("POST", "/", "x"),
    ]
    where = urllib.parse.urlsplit(place["url"])
    said = []
    for token in (place["token"], WRONG[0], None):
        for method, path, body in requests:
            connection = http.client.HTTPConnection(str(where.hostname), where.port, timeout=10)
            headers = {} if token is None else {"Authorization": f"Bearer {token}".encode()}
            connection.request(method, path, json.dumps(body) if body else None, headers)
            answer = connection.getresponse()
            assert (answer.status == 401) == (token != place["token"])
            said.append(f"{answer.status} {answer.getheaders()} {answer.read().decode()}")
            connection.close()
    return said


def _log_in_well_and_badly(where: dict[str, Any], username: str, secrets: list[str]) -> None:
    place = {"host": where["host"], "port": where["port"], "ca_file": where["ca_file"]}
    good = [
        Session(SessionSettings(username, secrets[0], **place)),
        Session(SessionSettings(token=secrets[3], **place)),
    ]
    for session in good:
        session.log_in()
    for settings in (
        SessionSettings(username, WRONG[0], **place),
        SessionSettings(token=WRONG[1], **place),
        SessionSettings(username, secrets[0], **{**place, "ca_file": None}),
    ):
        with pytest.raises(Error, match=r"refused|could not prove"):
            Session(settings).log_in()
    # A second login in a session has a line in the log.
    payload = eto_payload(eto.PAYLOAD_LOGIN)
    payload.type = seto.PAYLOAD_LOGIN
    payload.login.CopyFrom(seto.Login(username=username, password=secrets[0]))
    good[0]._protocol._transmit(payload, 0.0)
    good[0].flush()
    with pytest.raises(SocketDisconnected):
        while True:
            good[0].read()
    for session in good:
        session.disconnect()
