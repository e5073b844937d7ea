"""Every example runs offline, in a fresh process, and tells the story it promises."""

import pathlib
import re
import subprocess
import sys

import pytest

EXAMPLES = pathlib.Path(__file__).parent.parent.parent / "examples"
#: No program of its own: ``smarkets-pool run`` calls it.
HANDLERS = EXAMPLES / "bot.py"
PROGRAMS = sorted(path for path in EXAMPLES.glob("*.py") if path != HANDLERS)

_NAMES = ", ".join(f"account-{n}" for n in range(5))

#: What each must have said, whole lines in this order with others between; a new example needs its own.
#: More than the last words, which a program could also say after a story that went wrong.
SAID = {
    "add_and_remove": [
        r"   delivered: member\.up to alice",
        r"   delivered: seto\.order_accepted to bob",
        r"restart bob",
        r"   delivered: member\.recovering to bob, resumed from event 1",
        r"   delivered: seto\.market_quotes to bob",
        r"   delivered: member\.up to bob",
        r"   the member from before: account 'bob' is DOWN.*",
        r"   refused: two accounts are called 'bob'",
        r"   refused: accounts 'bob' and 'robert' are the same login .*",
        r"   wait_until_up raised PoolError about carol",
        r"   delivered: member\.down to carol, retry_in None",
        r"   given_up: .*LOGOUT_UNAUTHORISED.*",
        r"update carol's password",
        r"   delivered: member\.up to carol",
        r"   given_up: None",
        r"   the pool has bob, carol",
        r"   delivered: seto\.order_cancelled to bob",
        r"logged out: bob, carol",
    ],
    "blocking_handlers": [
        r"   asker: the service says 'within the limits'",
        r"   waiter: has heard of the asker's answer",
        r"   sleeper: has slept for .* s",
        r"   other: [1-9]\d* orders placed and handled meanwhile; .* 0 disconnects",
        r"compute here: longest hold-up of everything .* s",
        r"compute in a thread: longest hold-up of everything .* s",
        r"   other: a handler of seto\.order_accepted raised ValueError\('a mistake in a handler'\)",
        r"   handler errors: 1, disconnects: 0",
        r"   10\d{3} deliveries waited for .*market_state; reading was paused",
        r"   then all 11000 were handled; disconnects: 0",
    ],
    "clean_shutdown": [
        r"asked to stop; 5 orders rest, 5 handlers run",
        r"cancelled; 0 orders rest",
        r"stopped in .* s, cleanly: True",
        rf"logged out: {_NAMES}",
        rf"handlers finished for: {_NAMES}",
    ],
    "lifecycle_and_gaps": [
        r"   member\.up: cause=login, session=\w+",
        r"a frame is lost",
        r"   member\.gap: kind=stream, first=(\d+), last=\1, recoverable=True",
        r"   member\.recovering: cause=gap, .*",
        r"   executed: event 2, is_replay=True",
        r"   member\.up: cause=gap, .*",
        r"three numbers are left out",
        r"   member\.gap: kind=stream, .*, recoverable=True",
        r"   member\.up: cause=gap, .*",
        r"the connection is cut in the middle of a frame.*",
        r"   member\.down: reason=.* in the middle of a frame .*, error=SocketDisconnected, retry_in=.*",
        r"   member\.recovering: cause=login, resumed_from=4",
        r"   executed: event 5, is_replay=True",
        r"   executed: event 6, is_replay=True",
        r"   member\.up: cause=login, .*",
        r"   member\.recovering: cause=login, resumed_from=6",
        r"   member\.gap: kind=account, first=7, last=8, recoverable=False",
        r"   executed: event 9, is_replay=True",
        r"   executed: event 14, is_replay=True",
        r"   member\.up: cause=login, .*",
        r"   member\.stalled: silence=.*",
        r"gaps in sessions: 2 found, 2 filled; connections lost: 2",
        r"buyer: 14 events happened, 12 handled, 2 announced as lost \[7, 8\]",
        r"seller: 26 events happened, 26 handled, 0 announced as lost",
        r"every event was handled once and in order, or announced as lost: True",
    ],
    "many_accounts": [
        *[r"account-\d: \d+ at 5000, event \d+"] * 10,
        r"10 accounts up, [1-9]\d* frames received",
    ],
    "one_account": [
        r"logged in, session \w+",
        r"accepted: order \d+",
        r"the book shows \[\(2500, 400000\)\]",
        r"cancelled",
        r"logged out",
    ],
    "per_account_policies": [
        r"   patient  0\.45  0\.45  0\.45  0\.45  0\.45  0\.45  \(jitter 0, max_attempts None\)",
        r"every connection is cut.*",
        r"   patient  tries again in 0\.450 s after SocketDisconnected",
        r"   limited  gives up after LoginError",
        r"   patient  tries again in 0\.450 s after LoginError",
        r"   patient  is up",
        r"somebody has looked .*",
        r"   limited  is up",
        r"   hasty    gives up after LoginTimeout",
        r"   wait_until_up: 1 of 5 accounts are given up: hasty: 2 failures in a row: .*",
        *(rf"   {name} +UP .*" for name in ("usual", "fast", "patient", "limited")),
        r"   hasty    DOWN 2 connections tried, 2 logins failed, 0 lost",
    ],
    "quoter": [
        r"quoter-0: quotes, \w+ 400000 at 4900: 49 %, odds 2\.04, pays 40, risks 19\.6",
        r"quoter-0: executed, buy 150000 at 4900: .*",
        r"quoter-0: quotes, buy 400000 at 4900: .*",
        r"quoter-1: quotes, buy 400000 at 5100: .*",
        r"quoter-1: quotes, sell 400000 at 5300: .*",
        r"quoter-2: member\.recovering, does not quote",
        r"quoter-2: executed, sell 50000 at 5100: .*",
        r"quoter-2: up, nothing is missing",
        r"quoter-2: quotes, sell 400000 at 5100: .*",
        r"quoter-0: member\.down, does not quote",
        r"somebody takes 40 of payout from quoter-0",
        r"quoter-0: executed, sell 400000 at 5100: .*",
        r"quoter-0: up, knows of 1 orders of its own; .*",
        r"quoter-0: quotes, buy 400000 at 4900: .*",
        r"the exchange has confirmed that nothing is left: True",
        r"orders of ours on the exchange: 0",
        r"12 orders placed, 11 cancelled; 3 executions, 2 by a replay; 0 handler errors",
    ],
}


def missing_from(said: str, wanted: list[str]) -> str | None:
    """The first of the wanted lines that does not come, in this order; None if all do."""
    lines = iter(said.splitlines())
    for pattern in wanted:
        if not any(re.fullmatch(pattern, line) for line in lines):
            return pattern
    return None


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_an_example_tells_its_story(path: pathlib.Path) -> None:
    """It ends by itself, without a complaint, and every line of its story comes, in order, to the last."""
    ran = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stdout
    assert missing_from(ran.stdout, SAID[path.stem]) is None, ran.stdout
    assert re.fullmatch(SAID[path.stem][-1], ran.stdout.splitlines()[-1]), ran.stdout


def test_every_example_is_in_the_list() -> None:
    """The README of the examples has a line for each program, and for nothing else."""
    readme = (EXAMPLES / "README.md").read_text()
    listed = re.findall(r"^\| \[`([\w/]+\.py)`\]\(\1\) \|", readme, re.MULTILINE)
    there = [str(path.relative_to(EXAMPLES)) for path in EXAMPLES.rglob("*.py")]
    assert sorted(listed) == sorted(there)
