"""``smarkets-pool run`` as a process: what it refuses, how it runs, reloads and stops."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import pathlib
import signal
import stat
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from typing import Any

import gevent
import pytest

from smarkets_pool.exchange import EmbeddedExchange
from tests.cli.running import (
    COMMAND,
    LIMIT,
    POLICIES,
    QUIET,
    Running,
    account,
    checked,
    defaults,
    quoted,
    write,
)
from tests.rig.pooling import RawServer, Talk, peer_of
from tests.rig.waiting import eventually

SECRET = "hunter2-horse-battery"


@pytest.fixture
def exchange() -> Iterator[EmbeddedExchange]:
    """An exchange in this process, whose truth the test can see; plain, because no test here is about TLS."""
    with EmbeddedExchange(accounts=6, tls=False) as served:
        yield served


@pytest.fixture
def silent() -> Iterator[RawServer]:
    """A listener that nobody is to connect to."""
    with RawServer(Talk.to_the_end) as server:
        yield server
        assert server.accepted == 0, "it connected although something was wrong"


def digest(password: str) -> bytes:
    """A password as the exchange keeps it."""
    return hashlib.sha256(password.encode()).digest()


def up_at(exchange: EmbeddedExchange) -> set[str]:
    """Who is logged in there, by the first letters of the tests: a is trader-1."""
    found = {peer.account.username for peer in exchange.exchange.peers if peer.account and not peer.closing}
    return {"abcdefgh"[number] for number, login in enumerate(exchange.logins) if login.username in found}


# --- the whole story ------------------------------------------------------------------------------


@pytest.fixture
def elsewhere(tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    """The folder of an exchange process, with the configuration that it wrote."""
    config = tmp_path / "pool.toml"
    process = subprocess.Popen(
        [*COMMAND, "exchange", "--port", "0", "--config-file", str(config)], stderr=subprocess.PIPE
    )
    try:
        eventually(config.exists, timeout=LIMIT)
        yield tmp_path
    finally:
        process.terminate()
        process.wait(LIMIT)
        process.stderr.close()


NAMES = tuple(f"account-{number}" for number in range(1, 5))


def test_it_runs_the_accounts_of_a_file_with_the_handlers_and_tells_it_in_lines(
    elsewhere: pathlib.Path,
) -> None:
    """TLS, four accounts up, what handlers print and what happens on standard output, an orderly end."""
    write(
        elsewhere / "bot.py",
        """
        from smarkets_pool.pool import MemberUp

        def setup(pool):
            @pool.on(MemberUp)
            def up(delivery):
                print(f"handler of {delivery.account}", flush=True)
        """,
    )
    assert stat.S_IMODE((elsewhere / "pool.toml").stat().st_mode) == 0o600
    with Running(elsewhere) as running:
        running.wait_until_up(*NAMES)
        for name in NAMES:
            running.wait_for(f"handler of {name}")
        running.wait_for("4 up, 0 recovering, 0 down")
        assert running.end() == 0
    assert "4 accounts, 1 handler from pool.toml" in running.out[0]
    assert "stopping, within 10 s" in running.out[-2]
    assert "4 logged out, in order" in running.out[-1]
    assert running.err == []


def test_the_same_story_for_a_program_is_json_line_by_line(elsewhere: pathlib.Path) -> None:
    """Every line is an object with event and seconds, also what handlers print; the start, the accounts, the
    end.
    """
    write(
        elsewhere / "bot.py",
        """
        def setup(pool):
            @pool.on("member.up")
            def up(delivery):
                print("first", delivery.account)
                print("no end of line", end="")
        """,
    )
    with Running(elsewhere, "--json") as running:
        for name in NAMES:
            running.wait_for('"member.up"', f'"{name}"')
        running.wait_for('"figures"')
        assert running.end() == 0
    told = [json.loads(line) for line in running.out]
    assert all(entry["seconds"] >= 0 for entry in told)
    events = [entry["event"] for entry in told if entry["event"] != "printed"]
    assert (events[0], events[-2:]) == ("configured", ["stopping", "stopped"])
    assert told[0]["accounts"] == 4
    assert {entry["account"] for entry in told if entry["event"] == "member.up"} == set(NAMES)
    printed = [entry["text"] for entry in told if entry["event"] == "printed"]
    assert sorted(text.removeprefix("no end of line") for text in printed if "first" in text) == [
        f"first {name}" for name in NAMES
    ]
    (stopped,) = (entry for entry in told if entry["event"] == "stopped")
    assert stopped["clean"] is True
    assert sorted(stopped["logged_out"]) == list(NAMES)


def test_what_was_killed_blocks_nothing_at_the_next_start(elsewhere: pathlib.Path) -> None:
    """kill -9, and the same accounts log in again at once."""
    write(elsewhere / "bot.py", QUIET)
    with Running(elsewhere) as running:
        running.wait_until_up(*NAMES)
        assert running.end(signal.SIGKILL) == -signal.SIGKILL
    with Running(elsewhere) as running:
        running.wait_until_up(*NAMES)
        assert running.end() == 0


def test_the_table_on_a_terminal_is_not_what_a_pipe_gets(exchange: EmbeddedExchange, tmp_path) -> None:
    """Without --lines or --json a pipe gets lines, and no control sequence of a terminal."""
    write(tmp_path / "pool.toml", defaults(exchange) + account(exchange, 0))
    write(tmp_path / "bot.py", QUIET)
    with Running(tmp_path) as running:
        running.wait_until_up("a")
        assert running.end() == 0
    assert not any("\x1b" in line for line in running.out)


# --- checking, and refusing -----------------------------------------------------------------------


def good_config(silent: RawServer) -> str:
    """Two accounts at the silent listener."""
    return f"""
    [defaults]
    host = "127.0.0.1"
    port = {silent.port}
    ssl = false
    [accounts.alice]
    username = "alice@example.com"
    password = "{SECRET}"
    [accounts.bob]
    username = "bob@example.com"
    password = "{SECRET}"
    """


BAD_CONFIG = f"""[timeouts]
connect = "5"

[defaults]
prot = 3801
host = "127.0.0.1"
port = 1

[accounts.alice]
username = "alice@example.com"
pasword = "{SECRET}"

[accounts.bob]
username = "bob@example.com"
password = {{ env = "NO_SUCH_VARIABLE" }}
"""
BAD_CONFIG_SAID = [
    "pool.toml, line 2, timeouts.connect: connect is to be seconds, more than 0 and ",
    "pool.toml, line 5, defaults.prot: there is no such key; did you mean port?",
    "pool.toml, line 11, accounts.alice.pasword: there is no such key; did you mean password?",
    "pool.toml, line 15, accounts.bob.password: password cannot be had: the environment variable "
    "NO_SUCH_VARIABLE is not set",
]

BAD_BOT = """from smarkets_pool import seto

def setup(pool):
    @pool.on("seto.order_excuted")
    def misspelt(delivery):
        pass

    @pool.on(seto.OrderExecuted)
    async def slow(delivery):
        pass

    @pool.on(seto.OrderExecuted)
    def two(delivery, more):
        pass

    @pool.on(seto.OrderExecuted, accounts=["alise"])
    def nobody(delivery):
        pass

    @pool.on
    def bare(delivery):
        pass

    pool.add_handler(seto.OrderExecuted, "text")
    pool.add_global_handler(lambda: None)
"""
BAD_BOT_SAID = [
    ("seto.order_excuted", "did you mean seto.order_executed", "bot.py, line 4)"),
    ("slow is an async def", "bot.py, line 8)"),
    ("two(delivery, more) cannot be called as handler(delivery)", "bot.py, line 12)"),
    ("'alise', and there is no such account; did you mean 'alice'?", "bot.py, line 16)"),
    ("bare stands where a name belongs", "bot.py, line 20)"),
    ("'text' is not callable",),
    ("cannot be called as handler(delivery)", "bot.py, line 25)"),
]


#: Runs the command once for each line of arguments: importing everything anew would take most of the time.
MANY = """
import json, sys
from gevent import monkey
monkey.patch_all()
from click.testing import CliRunner
from smarkets_pool.cli.run import run

found = []
for arguments in json.loads(sys.argv[1]):
    result = CliRunner().invoke(run, arguments)
    found.append([result.exit_code, result.stdout, result.stderr])
print(json.dumps(found))
"""


def all_checked(folder: pathlib.Path, *commands: list[str]) -> list[list[Any]]:
    """Status, output and errors of ``run`` with each of these arguments, in one process."""
    said = subprocess.run(
        [sys.executable, "-c", MANY, json.dumps(commands)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=True,
    )
    found: list[list[Any]] = json.loads(said.stdout)
    return found


def told(text: str, *words: str) -> bool:
    """Whether one line has all these words."""
    return any(all(word in line for word in words) for line in text.splitlines())


def test_check_checks_and_connects_to_nothing(silent: RawServer, tmp_path: pathlib.Path) -> None:
    """A good file and good handlers: a sentence about them, status 0."""
    write(tmp_path / "pool.toml", good_config(silent))
    write(tmp_path / "bot.py", "def setup(pool):\n    pool.add_global_handler(print)\n")
    said = checked(tmp_path, "pool.toml", "--handlers", "bot", "--check")
    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout.startswith("pool.toml: 2 accounts, 1 handler")
    assert said.stdout.endswith("; nothing was connected to\n")


@pytest.mark.parametrize("check", [True, False], ids=["--check", "for real"])
def test_everything_wrong_with_the_handlers_is_told_at_once(
    silent: RawServer, tmp_path: pathlib.Path, check: bool
) -> None:
    """Name, async, arity, account, a decorator without its name, no function: each with file and line."""
    write(tmp_path / "pool.toml", good_config(silent))
    write(tmp_path / "bot.py", BAD_BOT)
    said = checked(tmp_path, "pool.toml", "--handlers", "bot", *["--check"] * check)
    assert (said.returncode, said.stdout) == (2, "")
    assert said.stderr.startswith(f"{len(BAD_BOT_SAID)} problems, nothing was started:\n")
    assert [words for words in BAD_BOT_SAID if not told(said.stderr, "handlers: ", *words)] == []


def test_the_problems_of_file_and_handlers_are_told_together(tmp_path: pathlib.Path) -> None:
    """All of both, those of the file first and by line; no secret."""
    write(tmp_path / "pool.toml", BAD_CONFIG)
    write(tmp_path / "bot.py", BAD_BOT)
    said = checked(tmp_path, "pool.toml", "--handlers", "bot")
    assert (said.returncode, said.stdout) == (2, "")
    lines = said.stderr.splitlines()
    assert len(lines) == 1 + len(BAD_CONFIG_SAID) + len(BAD_BOT_SAID)
    assert all(want in line for want, line in zip(BAD_CONFIG_SAID, lines[1:], strict=False))
    assert [words for words in BAD_BOT_SAID if not told(said.stderr, "handlers: ", *words)] == []
    assert SECRET not in said.stderr


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        (None, "the configuration 'pool.toml' cannot be read: No such file or directory"),
        ("[accounts.alice\n", "pool.toml, line 1: this is no TOML: "),
        ("", "pool.toml, accounts: there are no accounts"),
    ],
    ids=["no file", "no TOML", "empty"],
)
def test_without_any_account_known_nothing_is_held_against_filters(
    tmp_path: pathlib.Path, config: str | None, problem: str
) -> None:
    """The file's one problem and the handlers' own ones, and none that only follows from that."""
    if config is not None:
        write(tmp_path / "pool.toml", config)
    write(
        tmp_path / "bot.py",
        BAD_BOT
        + """
    buyers = [member.name for member in pool]
    pool.add_handler(seto.OrderExecuted, print, accounts=buyers)
    first = pool["alice"]
""",
    )
    said = checked(tmp_path, "pool.toml", "--handlers", "bot")
    assert said.returncode == 2
    assert said.stderr.splitlines()[1].startswith(f"  {problem}")
    assert len(said.stderr.splitlines()) == 1 + 1 + len(BAD_BOT_SAID) - 1
    assert "alise" not in said.stderr


def test_handlers_see_the_accounts_of_a_broken_file(tmp_path: pathlib.Path) -> None:
    """A setup that looks at its accounts is checked although no account of the file can be used."""
    write(tmp_path / "pool.toml", BAD_CONFIG)
    write(
        tmp_path / "bot.py",
        """
        def setup(pool):
            *buyers, seller = [member.name for member in pool]
            pool.add_handler("member.up", print, accounts=buyers)
            pool.add_handler("member.downn", print, accounts=[seller])
            print(buyers, seller)
        """,
    )
    said = checked(tmp_path, "pool.toml", "--handlers", "bot")
    assert said.stdout == "['alice'] bob\n"
    assert told(said.stderr, "handlers: nothing is called 'member.downn'; did you mean member.down")
    assert len(said.stderr.splitlines()) == 1 + len(BAD_CONFIG_SAID) + 1


#: What ``--handlers`` may wrongly say, and what is told about it.
UNUSABLE = [
    ("nothing", ("there is no module 'nothing' in ", "on Python's path")),
    ("bott", ("there is no module 'bott'", "did you mean bot?")),
    ("bot.py", ("there is no module 'bot.py'", "did you mean bot?")),
    ("./bot.py", ("there is no module './bot.py'", "did you mean bot?")),
    ("package/inner.py", ("did you mean package.inner?",)),
    ("package.iner", ("there is no module 'package.iner'",)),
    (":setup", ("there is no module ''",)),
    ("bot:stup", ("module 'bot' has no 'stup'; did you mean bot:setup?",)),
    ("bot:Box.iner", ("module 'bot' has no 'Box.iner'",)),
    ("bare", ("module 'bare' has no 'setup': write a function setup(pool) that registers handlers",)),
    ("bare:number", ("bare:number is of type int; it is to be a function that takes the pool",)),
    ("bare:two", ("bare:two cannot be called with the pool: missing a required argument: 'other'",)),
    ("bare:NoPool", ("bare:NoPool cannot be called with the pool: too many positional arguments",)),
    ("bare:slow", ("bare:slow is an async def", "use a plain function")),
    ("bare:many", ("bare:many is a generator", "use a plain function")),
    ("bare:both", ("bare:both is an async generator",)),
    ("bare:fails", ("bare:fails: it failed:",)),
    ("bare:quits", ("bare:quits: it failed:",)),
    ("bare:starts", ("bare:starts: it failed:",)),
    ("raises", ("raises: importing it failed:",)),
    ("ends", ("ends: importing it failed:",)),
    ("unreadable", ("unreadable: importing it failed:",)),
    ("broken.inner", ("broken.inner: importing it failed:",)),
]


@pytest.fixture(scope="module")
def unusable(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """Status, output and errors of ``run`` for each of them, with a file that has problems too."""
    folder = tmp_path_factory.mktemp("unusable")
    write(folder / "pool.toml", BAD_CONFIG)
    write(folder / "bot.py", "def setup(pool):\n    pass\nclass Box:\n    inner = setup\n")
    write(
        folder / "bare.py",
        """
        number = 5
        def two(pool, other): pass
        class NoPool: pass
        async def slow(pool): pass
        def many(pool): yield
        async def both(pool): yield
        def fails(pool): return pool["alice"].nothing
        def quits(pool): raise SystemExit(3)
        def starts(pool): pool.start()
        """,
    )
    write(folder / "raises.py", "number = 1 / 0\n")
    write(folder / "ends.py", "import sys\nsys.exit(0)\n")
    write(folder / "unreadable.py", "def setup(pool)\n    pass\n")
    for name, text in (("package", ""), ("broken", "raise RuntimeError('no')\n")):
        (folder / name).mkdir()
        write(folder / name / "__init__.py", text)
        write(folder / name / "inner.py", QUIET)
    names = [handlers for handlers, _ in UNUSABLE]
    found = all_checked(folder, *(["pool.toml", "--handlers", name] for name in names))
    return dict(zip(names, found, strict=True))


@pytest.mark.parametrize(("handlers", "words"), UNUSABLE, ids=[handlers for handlers, _ in UNUSABLE])
def test_handlers_that_cannot_be_had_are_one_more_problem(
    unusable: dict[str, list[Any]], handlers: str, words: tuple[str, ...]
) -> None:
    """Whatever is wrong with module or object is told after the problems of the file, with status 2."""
    status, out, err = unusable[handlers]
    assert (status, out) == (2, "")
    assert f"{len(BAD_CONFIG_SAID) + 1} problems, nothing was started:" in err
    assert all(told(err, want) for want in BAD_CONFIG_SAID)
    assert told(err, f"--handlers {handlers}: ", *words)


@pytest.mark.parametrize(
    ("handlers", "place", "error"),
    [
        ("bare:fails", 'bare.py", line 2', "RuntimeError: no"),
        ("raises", 'raises.py", line 1', "ZeroDivisionError"),
        ("unreadable", 'unreadable.py", line 1', "SyntaxError"),
        ("starts", 'starts.py", line 2', "handlers are still being registered: leave start() out"),
    ],
)
def test_an_error_of_the_users_code_is_told_with_its_own_traceback_alone(
    silent: RawServer, tmp_path: pathlib.Path, handlers: str, place: str, error: str
) -> None:
    """File and line of the user's code come first; the steps that led there are left out."""
    write(tmp_path / "pool.toml", good_config(silent))
    write(tmp_path / "bare.py", "def fails(pool):\n    raise RuntimeError('no')\n")
    write(tmp_path / "raises.py", "number = 1 / 0\n")
    write(tmp_path / "unreadable.py", "def setup(pool)\n    pass\n")
    write(tmp_path / "starts.py", "def setup(pool):\n    pool.start()\n")
    said = checked(tmp_path, "pool.toml", "--handlers", handlers)
    assert said.returncode == 2
    assert "1 problem, nothing was started:" in said.stderr
    shown = said.stderr[said.stderr.index("failed:") :]
    assert shown.index(place) < shown.index(error)
    assert "cli/handlers.py" not in shown and "importlib" not in shown


def test_handlers_may_be_a_function_a_class_a_dispatcher_or_inside_something(
    silent: RawServer, tmp_path: pathlib.Path
) -> None:
    """Each kind registers what it says."""
    write(tmp_path / "pool.toml", good_config(silent))
    (tmp_path / "sub").mkdir()
    write(tmp_path / "sub" / "bot.py", QUIET)
    write(
        tmp_path / "bot.py",
        """
        from smarkets_pool import Pool, seto

        def handler(delivery): pass
        def setup(pool): pool.add_global_handler(handler)

        def other(pool):
            pool.add_handler("member.up", handler)
            pool.add_handler("member.down", handler)

        class Bot:
            def __init__(self, pool):
                pool.add_handler(seto.OrderExecuted, self.filled)
            def filled(self, delivery): pass

        made = Pool.new_dispatcher()
        for name in ("eto.pong", "member.gap", seto.OrderExecuted):
            made.add(name, handler)

        class Box:
            inner = Bot
        """,
    )
    registered = {
        "bot": "1 handler",
        "bot:": "1 handler",
        "bot:other": "2 handlers",
        "bot:Bot": "1 handler",
        "bot:made": "3 handlers",
        "bot:Box.inner": "1 handler",
        "sub.bot": "no handlers",
    }
    found = all_checked(tmp_path, *(["pool.toml", "--handlers", name, "--check"] for name in registered))
    for (status, out, err), said in zip(found, registered.values(), strict=True):
        assert (status, err) == (0, "")
        assert f"2 accounts, {said}" in out


def test_a_dispatcher_is_checked_against_the_accounts_too(silent: RawServer, tmp_path: pathlib.Path) -> None:
    """A filter of a ready dispatcher that names nobody is a problem of the handlers."""
    write(tmp_path / "pool.toml", good_config(silent))
    write(
        tmp_path / "bot.py",
        """
        from smarkets_pool import Pool
        made = Pool.new_dispatcher()
        made.add("member.up", print, accounts=["bobb"])
        """,
    )
    said = checked(tmp_path, "pool.toml", "--handlers", "bot:made", "--check")
    assert said.returncode == 2
    assert told(said.stderr, "handlers: ", "'bobb', and there is no such account; did you mean 'bob'?")


def test_the_command_line_itself_is_checked(tmp_path: pathlib.Path) -> None:
    """No handlers, a folder as the file, a negative time: the usage and status 2."""
    write(tmp_path / "pool.toml", "")
    for status, out, err in all_checked(
        tmp_path,
        ["pool.toml"],
        [".", "--handlers", "bot"],
        ["pool.toml", "--handlers", "bot", "--stop-timeout", "-1"],
    ):
        assert (status, out) == (2, "")
        assert "Usage:" in err


# --- stopping -------------------------------------------------------------------------------------

#: A handler of account a that waits for a file, and says when it begins and ends.
WAITING = """
import pathlib
import gevent

def setup(pool):
    @pool.on("member.up", accounts=["a"])
    def wait(delivery):
        print("the handler begins", flush=True)
        while not pathlib.Path("go").exists():
            gevent.sleep(0.01)
        print("the handler ends", flush=True)
"""

ENDLESS = """
import gevent
import gevent.event

def setup(pool):
    @pool.on("member.up", accounts=["a"])
    def wait(delivery):
        print("the handler begins", flush=True)
        gevent.event.Event().wait()
"""


@pytest.fixture
def folder(exchange: EmbeddedExchange, tmp_path: pathlib.Path) -> pathlib.Path:
    """A folder with ``pool.toml`` for accounts a and b of the exchange, and quiet handlers."""
    write(tmp_path / "pool.toml", POLICIES + defaults(exchange) + account(exchange, 0) + account(exchange, 1))
    write(tmp_path / "bot.py", QUIET)
    return tmp_path


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_a_handler_finish(folder: pathlib.Path, number: int) -> None:
    """SIGTERM and Ctrl-C: log out, wait for the handler that blocks, end with status 0."""
    write(folder / "bot.py", WAITING)
    with Running(folder) as running:
        running.wait_until_up("b")
        running.wait_for("the handler begins")
        running.send(number)
        running.wait_for("stopping")
        assert not running.says("the handler ends")
        write(folder / "go", "")
        assert running.end(None) == 0
    assert running.says("the handler ends")
    assert running.says("2 logged out, in order")


def test_a_second_signal_stops_at_once(folder: pathlib.Path, exchange: EmbeddedExchange) -> None:
    """A handler that never ends holds the process up until then; status 1, and nothing stays connected."""
    write(folder / "bot.py", ENDLESS)
    with Running(folder, "--stop-timeout", "1000") as running:
        running.wait_for("the handler begins")
        running.send(signal.SIGTERM)
        running.wait_for("stopping")
        assert running.end(signal.SIGTERM) == 1
    assert "a second signal: stopped at once" in running.out[-1]
    assert running.err == []
    eventually(lambda: up_at(exchange) == set())


def test_a_second_signal_ends_a_handler_that_computes_without_end(folder: pathlib.Path) -> None:
    """Not even the loop runs then; the second signal ends the process with status 1 all the same."""
    write(
        folder / "bot.py",
        """
        import pathlib

        def setup(pool):
            @pool.on("member.up", accounts=["a"])
            def compute(delivery):
                pathlib.Path("computing").touch()
                while True:
                    pass
        """,
    )
    with Running(folder) as running:
        eventually((folder / "computing").exists, timeout=LIMIT)
        running.send(signal.SIGTERM)
        assert running.end(signal.SIGINT) == 1


def test_what_does_not_end_in_time_is_killed_and_named(folder: pathlib.Path) -> None:
    """--stop-timeout: then the handler's greenlet is killed, the account named, and the status is 1."""
    write(folder / "bot.py", ENDLESS)
    with Running(folder, "--stop-timeout", "0.2") as running:
        running.wait_for("the handler begins")
        assert running.end() == 1
    assert "killed: dispatcher of a" in running.out[-1]


def test_a_handler_may_stop_the_pool(folder: pathlib.Path) -> None:
    """A kill switch of the user's own ends the process in order, with status 0."""
    write(
        folder / "bot.py",
        """
        import gevent

        def setup(pool):
            @pool.on("member.up", accounts=["b"])
            def enough(delivery):
                gevent.spawn(pool.stop)
        """,
    )
    with Running(folder) as running:
        assert running.end(None) == 0
    assert not running.says("given up")
    assert "stopped in" in running.out[-1]


def test_when_every_account_is_given_up_it_ends_by_itself(
    exchange: EmbeddedExchange, tmp_path: pathlib.Path
) -> None:
    """Two wrong passwords: the reasons on standard output, status 1."""
    wrong = account(exchange, 0, password=SECRET) + account(exchange, 1, password=SECRET)
    write(tmp_path / "pool.toml", defaults(exchange) + wrong)
    write(tmp_path / "bot.py", QUIET)
    with Running(tmp_path) as running:
        assert running.end(None) == 1
    for name in ("a", "b"):
        assert running.says(f"{name}: down, ", "UNAUTHORISED", "given up")
    assert running.says("every account is given up: ", "a: trying again cannot help: ", "; b: ")
    assert SECRET not in "".join(running.out + running.err)


def test_an_account_that_is_given_up_stops_no_other(
    exchange: EmbeddedExchange, tmp_path: pathlib.Path
) -> None:
    """One wrong password beside a right one: it is told, and the process goes on."""
    write(
        tmp_path / "pool.toml",
        defaults(exchange) + account(exchange, 0, password=SECRET) + account(exchange, 1),
    )
    write(tmp_path / "bot.py", QUIET)
    with Running(tmp_path) as running:
        running.wait_until_up("b")
        running.wait_for("a: down", "given up")
        running.wait_for("1 up, 0 recovering, 1 down")
        assert running.end() == 0


# --- SIGHUP ---------------------------------------------------------------------------------------


def hang_up(running: Running, times: int = 1) -> str:
    """SIGHUP; return the line that says what became of it."""
    running.send(signal.SIGHUP)
    return running.wait_for("s  reloaded: ", times=times)[-1]


def test_sighup_adds_removes_and_changes_accounts(exchange: EmbeddedExchange, folder: pathlib.Path) -> None:
    """One goes, one comes, one gets a policy of its own, one is as it was and stays connected."""
    start = POLICIES + defaults(exchange)
    a, b, c, d = (account(exchange, number) for number in range(4))
    write(folder / "pool.toml", start + a + b + c)
    with Running(folder) as running:
        running.wait_until_up("a", "b", "c")
        kept, changed = peer_of(exchange, 0), peer_of(exchange, 2)
        write(folder / "pool.toml", start + a + c + "[accounts.c.timeouts]\nconnect = 3.0\n" + d)
        assert "reloaded: added d; removed b; changed c" in hang_up(running)
        running.wait_until_up("d")
        running.wait_for("c: up", times=2)
        eventually(lambda: up_at(exchange) == {"a", "c", "d"})
        assert peer_of(exchange, 0) is kept
        assert peer_of(exchange, 2) is not changed
        assert running.end() == 0


def test_sighup_tells_which_handlers_are_left_without_their_account(
    exchange: EmbeddedExchange, folder: pathlib.Path
) -> None:
    """An account with another name is a new one, and a filter for the old one lets nothing through."""
    write(folder / "bot.py", "def setup(pool):\n    pool.add_handler('member.up', print, accounts=['a'])\n")
    with Running(folder) as running:
        running.wait_until_up("a", "b")
        write(
            folder / "pool.toml",
            POLICIES + defaults(exchange) + account(exchange, 0, name="aa") + account(exchange, 1),
        )
        assert "added aa; removed a" in hang_up(running)
        running.wait_for("handlers: ", "of account 'a', and there is no such account; did you mean 'aa'?")
        assert running.end() == 0


def test_sighup_takes_a_new_password(exchange: EmbeddedExchange, folder: pathlib.Path) -> None:
    """A changed password connects anew, with the new one; the password is told nowhere."""
    write(folder / "pool.toml", POLICIES + defaults(exchange) + account(exchange, 0) + account(exchange, 1))
    with Running(folder, "--json", before=("-vv",)) as running:
        for name in ("a", "b"):
            running.wait_for('"member.up"', f'"{name}"')
        exchange.exchange.accounts[exchange.logins[0].username]._password = digest(SECRET)
        write(
            folder / "pool.toml",
            POLICIES + defaults(exchange) + account(exchange, 0, password=SECRET) + account(exchange, 1),
        )
        running.send(signal.SIGHUP)
        assert json.loads(running.wait_for('"reloaded"')[0])["changed"] == ["a"]
        running.wait_for('"member.up"', '"a"', times=2)
        assert running.end() == 0
    for secret in (SECRET, *(login.password for login in exchange.logins)):
        assert secret not in "".join(running.out + running.err)


def test_sighup_moves_accounts_to_another_host(exchange: EmbeddedExchange, folder: pathlib.Path) -> None:
    """A new port in [defaults] changes every account of it."""
    with EmbeddedExchange(accounts=2, tls=False) as other:
        for here, there in zip(exchange.logins, other.logins, strict=False):
            other.exchange.accounts[there.username]._password = digest(here.password)
        with Running(folder) as running:
            running.wait_until_up("a", "b")
            write(
                folder / "pool.toml",
                POLICIES + defaults(other) + account(exchange, 0) + account(exchange, 1),
            )
            assert "changed a, b" in hang_up(running)
            eventually(lambda: (up_at(exchange), up_at(other)) == (set(), {"a", "b"}), timeout=LIMIT)
            assert running.end() == 0


def test_sighup_changes_subscriptions_on_the_connection_there_is(
    exchange: EmbeddedExchange, folder: pathlib.Path
) -> None:
    """What is new is subscribed to, what is gone is ended, and nobody logs out for it."""
    first, second, third = exchange.market_ids[:3]
    start = POLICIES + account(exchange, 0)

    def subscribed(*markets: int) -> str:
        return start + defaults(exchange, f"subscriptions = {{ markets = {list(markets)} }}")

    write(folder / "pool.toml", subscribed(first, second))
    with Running(folder) as running:
        running.wait_until_up("a")
        peer = peer_of(exchange, 0)
        eventually(lambda: peer.subscriptions == {first, second})
        write(folder / "pool.toml", subscribed(second, third))
        assert "reloaded: changed a" in hang_up(running)
        eventually(lambda: peer.subscriptions == {second, third})
        assert peer_of(exchange, 0) is peer
        exchange.cut(exchange.logins[0].username)
        running.wait_for("a: up", times=2)
        eventually(lambda: peer_of(exchange, 0).subscriptions == {second, third})
        assert running.end() == 0


def test_sighup_tries_a_given_up_account_again(exchange: EmbeddedExchange, folder: pathlib.Path) -> None:
    """The secret file was mended; the configuration says the same as before."""
    write(folder / "secret", "wrong\n")
    login = exchange.logins[0]
    write(
        folder / "pool.toml",
        POLICIES
        + defaults(exchange)
        + f'[accounts.a]\nusername = "{login.username}"\npassword = {{ file = "secret" }}\n'
        + account(exchange, 1),
    )
    with Running(folder) as running:
        running.wait_until_up("b")
        running.wait_for("a: down", "given up")
        write(folder / "secret", login.password + "\n")
        assert "reloaded: retried a" in hang_up(running)
        running.wait_until_up("a")
        assert "reloaded: nothing has changed" in hang_up(running, times=2)
        assert running.end() == 0


def test_sighup_with_a_broken_file_tells_everything_and_changes_nothing(
    exchange: EmbeddedExchange, folder: pathlib.Path
) -> None:
    """Every problem is told, the sessions stay, and the next good file is taken."""
    with Running(folder) as running:
        running.wait_until_up("a", "b")
        peers = [peer_of(exchange, number) for number in (0, 1)]
        write(folder / "pool.toml", BAD_CONFIG)
        running.send(signal.SIGHUP)
        running.wait_for("not reloaded, everything goes on as it was")
        for problem in BAD_CONFIG_SAID:
            running.wait_for(problem)
        write(folder / "pool.toml", "[accounts.a\n")
        running.send(signal.SIGHUP)
        running.wait_for("line 1: this is no TOML")
        (folder / "pool.toml").unlink()
        running.send(signal.SIGHUP)
        running.wait_for("cannot be read: No such file or directory")
        write(folder / "pool.toml", defaults(exchange) + account(exchange, 0) + account(exchange, 2), 0o644)
        running.send(signal.SIGHUP)
        running.wait_for("a secret stands here, and the file can be read by", "chmod 600")
        assert [peer_of(exchange, number) for number in (0, 1)] == peers
        write(folder / "pool.toml", defaults(exchange) + account(exchange, 0) + account(exchange, 2))
        assert "added c; removed b" in hang_up(running)
        assert running.end() == 0
    assert running.err == []


def test_sighup_tells_what_needs_a_restart_until_there_is_one(
    exchange: EmbeddedExchange, folder: pathlib.Path
) -> None:
    """A change of the pool's own policies is told by each reload; taken back, it is forgotten."""
    text = (folder / "pool.toml").read_text()
    with Running(folder) as running:
        running.wait_until_up("a", "b")
        write(folder / "pool.toml", text.replace("cap = 0.1", "cap = 0.2") + "[timeouts]\nlogin = 3.0\n")
        for time in (1, 2):
            line = hang_up(running, times=time)
            assert "[reconnect] differs from what the process started with: restart it" in line
            assert "[timeouts] differs from what" in line
        write(folder / "pool.toml", text)
        assert "nothing has changed" in hang_up(running, times=3)
        assert running.end() == 0


def test_many_sighups_in_a_row_end_with_what_the_file_says_last(
    exchange: EmbeddedExchange, folder: pathlib.Path
) -> None:
    """Signals during a reload lead to one more, and none is lost."""
    start = POLICIES + defaults(exchange)
    pairs = ([0, 1], [1, 2], [0, 3], [2, 4])
    texts = [start + "".join(account(exchange, number) for number in pair) for pair in pairs]
    with Running(folder) as running:
        running.wait_until_up("a", "b")
        for text in texts * 3:
            write(folder / "pool.toml", text)
            running.send(signal.SIGHUP)
        eventually(lambda: up_at(exchange) == {"c", "e"}, timeout=LIMIT)
        assert running.end() == 0
    assert running.err == []
    assert "2 logged out, in order" in running.out[-1]


def test_sighup_while_it_stops_is_nothing(folder: pathlib.Path, exchange: EmbeddedExchange) -> None:
    """Neither a reload nor the end of the process."""
    write(folder / "bot.py", WAITING)
    with Running(folder) as running:
        running.wait_for("the handler begins")
        running.send(signal.SIGTERM)
        running.wait_for("stopping")
        write(folder / "pool.toml", defaults(exchange) + account(exchange, 2))
        running.send(signal.SIGHUP)
        write(folder / "go", "")
        assert running.end(None) == 0
    assert not running.says("reloaded")


def test_a_stop_does_not_wait_for_a_reload(folder: pathlib.Path, exchange: EmbeddedExchange) -> None:
    """A reload that waits for a handler does not delay it; the handler has the stop's time to finish."""
    write(folder / "bot.py", WAITING)
    with Running(folder) as running:
        running.wait_until_up("b")
        running.wait_for("the handler begins")
        write(folder / "pool.toml", POLICIES + defaults(exchange) + account(exchange, 1))
        running.send(signal.SIGHUP)
        eventually(lambda: up_at(exchange) == {"b"}, timeout=LIMIT)
        running.send(signal.SIGTERM)
        running.wait_for("stopping")
        assert not running.says("reloaded")
        write(folder / "go", "")
        assert running.end(None) == 0
    assert running.says("the handler ends")


def test_the_last_account_that_is_up_may_go_while_others_come(
    exchange: EmbeddedExchange, tmp_path: pathlib.Path
) -> None:
    """In between every account left is given up; the process goes on, because the reload brings more."""
    hopeless = defaults(exchange) + account(exchange, 0, password=SECRET)
    write(tmp_path / "pool.toml", hopeless + account(exchange, 1))
    write(tmp_path / "bot.py", QUIET)
    with Running(tmp_path) as running:
        running.wait_until_up("b")
        running.wait_for("a: down", "given up")
        write(tmp_path / "pool.toml", hopeless + account(exchange, 2))
        assert "added c; removed b; retried a" in hang_up(running)
        running.wait_until_up("c")
        assert running.end() == 0


def test_the_file_is_found_again_wherever_the_process_has_gone(
    exchange: EmbeddedExchange, folder: pathlib.Path
) -> None:
    """Handlers that change the folder of the process lose neither the file nor its secret files."""
    write(folder / "bot.py", "import os\ndef setup(pool):\n    os.chdir('/')\n")
    write(folder / "secret", exchange.logins[0].password)
    start = POLICIES + defaults(exchange)
    text = f'[accounts.a]\nusername = "{exchange.logins[0].username}"\npassword = {{ file = "secret" }}\n'
    write(folder / "pool.toml", start + text)
    with Running(folder) as running:
        running.wait_until_up("a")
        write(folder / "pool.toml", start + text + account(exchange, 1))
        assert "added b" in hang_up(running)
        exchange.cut(exchange.logins[0].username)
        running.wait_for("a: up", times=2)
        assert running.end() == 0


# --- logs, and readers that do not read -----------------------------------------------------------


def test_the_log_file_has_what_happened(folder: pathlib.Path) -> None:
    """--log-file: connections and their ends, with the account's name, though standard error is silent."""
    with Running(folder, "--log-file", "run.log") as running:
        running.wait_until_up("a", "b")
        assert running.end() == 0
    assert running.err == []
    log = (folder / "run.log").read_text()
    for name in ("a", "b"):
        assert told(log, "INFO smarkets_pool.run: ", f"account {name}: up, after login")
    assert told(log, "stopped in ", "2 logged out, in order")


def test_the_log_goes_on_in_a_new_file_when_the_old_one_was_taken_away(folder: pathlib.Path) -> None:
    """Whoever rotates logs moves the file, and need not tell the process."""
    with Running(folder, "--log-file", "run.log") as running:
        running.wait_until_up("a", "b")
        (folder / "run.log").rename(folder / "old.log")
        assert running.end() == 0
    assert told((folder / "old.log").read_text(), "account a: up, after login")
    assert told((folder / "run.log").read_text(), "stopped in ")


def test_a_log_file_that_cannot_be_written_is_named(folder: pathlib.Path) -> None:
    """Before anything else."""
    said = checked(folder, "pool.toml", "--handlers", "bot", "--log-file", "missing/run.log")
    assert said.returncode in (1, 2)
    assert "the log file 'missing/run.log' cannot be written: No such file or directory" in said.stderr
    assert "Traceback" not in said.stderr


#: Fills standard output and standard error, whatever way there is to write there.
NOISY = """
import logging
import sys
import gevent

def setup(pool):
    @pool.on("member.up", accounts=["a"])
    def shout(delivery):
        for number in range(400):
            print("print", number, "x" * 1000)
            print("error", number, "x" * 1000, file=sys.stderr)
            logging.getLogger("bot").error("log %s %s", number, "x" * 1000)
            gevent.sleep(0)
        open("shouted", "w").close()
"""


def waiting_in(stream: object) -> int:
    """Bytes that nobody has read from a pipe."""
    return struct.unpack("i", fcntl.ioctl(stream, termios.FIONREAD, b"\0" * 4))[0]


@pytest.mark.parametrize("how", ["--lines", "--json"])
def test_a_reader_that_never_reads_holds_up_no_account(
    exchange: EmbeddedExchange, folder: pathlib.Path, how: str
) -> None:
    """Both pipes are full: handlers, heartbeats and the orderly end go on."""
    write(folder / "bot.py", NOISY)
    write(
        folder / "pool.toml",
        POLICIES
        + "[timeouts]\nheartbeat_after = 0.05\n"
        + defaults(exchange)
        + account(exchange, 0)
        + account(exchange, 1),
    )
    process = subprocess.Popen(
        [*COMMAND, "run", "pool.toml", "--handlers", "bot", how],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        eventually((folder / "shouted").exists, timeout=LIMIT)
        eventually(lambda: waiting_in(process.stdout) > 60_000 and waiting_in(process.stderr) > 60_000)
        peers = [peer_of(exchange, number) for number in (0, 1)]
        heard = [peer.protocol.frames_received for peer in peers]
        eventually(
            lambda: all(
                peer.protocol.frames_received > before + 10 for peer, before in zip(peers, heard, strict=True)
            ),
            timeout=LIMIT,
        )
        assert up_at(exchange) == {"a", "b"}
        process.terminate()
        # While it gives what is left to be read its last seconds, signals are nothing to it.
        eventually(lambda: up_at(exchange) == set(), timeout=LIMIT)
        eventually(lambda: process.poll() is not None or process.send_signal(signal.SIGHUP), timeout=LIMIT)
        assert process.wait(LIMIT) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(LIMIT)
        process.stdout.close()
        process.stderr.close()


@pytest.mark.parametrize("how", ["--lines", "--json"])
def test_a_reader_that_has_gone_is_no_reason_to_stop(
    exchange: EmbeddedExchange, folder: pathlib.Path, how: str
) -> None:
    """``run ... | head -1``: the accounts stay up, and the end is in order and without a complaint."""
    write(folder / "bot.py", NOISY.replace(", file=sys.stderr", ""))
    command = " ".join([*map(quoted, COMMAND), "run", "pool.toml", "--handlers", "bot", how])
    shell = subprocess.Popen(
        ["bash", "-c", f"trap '' TERM; ({command}; echo $? > status) | head -1"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        eventually((folder / "shouted").exists, timeout=LIMIT)
        eventually(lambda: up_at(exchange) == {"a", "b"}, timeout=LIMIT)
        assert shell.poll() is None
        said = [gevent.spawn(stream.read) for stream in (shell.stdout, shell.stderr)]
        os.killpg(shell.pid, signal.SIGTERM)
        shell.wait(LIMIT)
        out, err = (greenlet.get(timeout=LIMIT) for greenlet in said)
        assert out.count(b"\n") == 1
        assert b"Error" not in err.replace(b"ERROR", b"") and b"Traceback" not in err
        assert (folder / "status").read_text() == "0\n"
    finally:
        if shell.poll() is None:
            os.killpg(shell.pid, signal.SIGKILL)
            shell.wait(LIMIT)
        shell.stdout.close()
        shell.stderr.close()
