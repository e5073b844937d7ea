"""The state file: the same books again, whatever was asked of them, and files that cannot be used."""

from __future__ import annotations

import logging
import os
import pathlib
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import gevent
import pytest

from smarkets_pool import Account, Pool, ReconnectPolicy, seto
from smarkets_pool.exceptions import ConfigError, UsageError
from smarkets_pool.exchange import EmbeddedExchange, ExchangeSettings
from smarkets_pool.exchange import state as state_module
from smarkets_pool.exchange.accounts import Accounts
from smarkets_pool.exchange.activity import ActivitySettings
from smarkets_pool.exchange.engine import Engine
from smarkets_pool.exchange.flood import Flood
from smarkets_pool.exchange.state import APPLICATION_ID, Identity, Setup, StateFile, fingerprint
from smarkets_pool.policies import Backoff
from smarkets_pool.session import Session, SessionSettings
from tests.exchange.test_changes import Play
from tests.rig.trading import CONTRACT, MARKET, OTHER_CONTRACT, OTHER_MARKET, Rig, picture
from tests.rig.waiting import eventually

NAMES = ("ann", "bob", "cyd")
PLACES = {MARKET: (CONTRACT, OTHER_CONTRACT), OTHER_MARKET: (CONTRACT,)}


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    """Where a state file may be."""
    return tmp_path / "books.db"


def identity() -> Identity:
    """Nobody logs in to an engine."""
    logins = [state_module.Credentials(name, f"pw-{name}", f"token-{name}") for name in NAMES]
    return Identity(logins, b"certificate", b"key")


def opened(path: pathlib.Path, settings: ExchangeSettings | None = None) -> StateFile:
    """The state file of a ``Rig``."""
    return StateFile.open(path, Setup(NAMES, PLACES, settings or Rig().settings), identity)


def read_again(path: pathlib.Path, rig: Rig) -> tuple[Engine, int]:
    """A new engine with the books of the file, and how many changes that took."""
    fresh = Rig(netting=rig.settings.netting)
    state = opened(path, fresh.settings)
    try:
        return fresh.engine, state.replay(fresh.engine)
    finally:
        state.close()


# --- the same books again ------------------------------------------------------------------------


@pytest.mark.parametrize("netting", ["none", "market"])
@pytest.mark.parametrize("seed", range(3))
def test_the_books_are_there_again(path: pathlib.Path, netting: str, seed: int) -> None:
    """After random requests and verbs of every kind everything an engine has is the same."""
    rig = Rig(netting=netting)
    state = opened(path, rig.settings)
    state.keep(rig.engine)
    state.start()
    Play(rig, seed).go(400)
    state.close()
    engine, changes = read_again(path, rig)
    assert changes > 300
    assert picture(engine) == picture(rig.engine)
    assert fingerprint(engine) == fingerprint(rig.engine)


def test_the_books_go_on(path: pathlib.Path) -> None:
    """Closed and opened ten times in between, they are as if nothing had been."""
    whole, parts = Rig(), Rig()
    plays = Play(whole, 5), Play(parts, 5)
    for _ in range(10):
        for play in plays:
            play.rig.engine.on_change = None
        parts.engine.on_change = None
        fresh = Rig()
        state = opened(path, fresh.settings)
        state.replay(fresh.engine)
        assert picture(fresh.engine) == picture(whole.engine)
        state.keep(fresh.engine)
        state.start()
        # The same play goes on with the engine that was read.
        parts.engine, parts.accounts = fresh.engine, fresh.accounts
        parts.ann, parts.bob, parts.cyd, parts.market = fresh.ann, fresh.bob, fresh.cyd, fresh.market
        for play in plays:
            play.go(30)
        state.close()
    assert picture(parts.engine) == picture(whole.engine)


def written(path: pathlib.Path) -> int:
    """How many changes are in the file now, as seen by somebody who has a copy of it."""
    copy = path.parent / "copy"
    copy.mkdir(exist_ok=True)
    for name in (path.name, f"{path.name}-wal"):
        (copy / name).write_bytes((path.parent / name).read_bytes())
    connection = sqlite3.connect(copy / path.name)
    try:
        count: int = connection.execute("SELECT count(*) FROM changes").fetchone()[0]
        return count
    finally:
        connection.close()
        for each in copy.iterdir():
            each.unlink()


def test_what_is_noted_is_written_without_being_asked(path: pathlib.Path) -> None:
    """A moment later it is in the file, where it outlives the process."""
    rig = Rig()
    state = opened(path, rig.settings)
    state.keep(rig.engine)
    state.start()
    rig.rest(rig.ann, seto.SIDE_BUY, 5000, 10)
    eventually(lambda: written(path) == 1)
    state.close()


def test_flush_leaves_nothing_in_memory(path: pathlib.Path) -> None:
    """When it returns the file has everything, whether or not the writing had begun."""
    rig = Rig()
    state = opened(path, rig.settings)
    state.keep(rig.engine)
    rig.rest(rig.ann, seto.SIDE_BUY, 5000, 10)
    state.flush()
    assert written(path) == 1
    state.start()
    for _ in range(5):
        rig.rest(rig.ann, seto.SIDE_BUY, 5000, 10)
    state.flush()
    assert written(path) == 6
    state.flush()
    state.close()
    state.flush()


def test_subscriptions_are_not_kept(path: pathlib.Path) -> None:
    """Only what can change something is in the log."""
    rig = Rig()
    state = opened(path, rig.settings)
    state.keep(rig.engine)
    rig.handle(rig.ann, seto.MarketSubscribe(market_id=MARKET))
    rig.handle(rig.ann, seto.OrderCancel(order_id=7))
    state.close()
    assert read_again(path, rig)[1] == 1


def test_numbers_of_any_size_are_kept(path: pathlib.Path) -> None:
    """Those of requests and references may be larger than what SQLite counts with."""
    rig = Rig()
    state = opened(path, rig.settings)
    state.keep(rig.engine)
    rig.rest(rig.ann, seto.SIDE_BUY, 5000, 10, seq=2**63, session="s", reference=2**64 - 1, label="ä\0b")
    state.close()
    assert picture(read_again(path, rig)[0]) == picture(rig.engine)


def test_accounts_that_come_later_are_there_again(path: pathlib.Path) -> None:
    """With their place among the others and what they remember, though without credentials."""
    rig = Rig()
    state = opened(path, rig.settings)
    state.keep(rig.engine)
    house = rig.accounts.add("house", remembers=3)
    rig.rest(house, seto.SIDE_BUY, 5000, 10)
    rig.accounts.add("dan")
    rig.operate("deposit", account="dan", amount="1")
    state.close()
    assert picture(read_again(path, rig)[0]) == picture(rig.engine)


def test_a_new_beginning_is_kept(path: pathlib.Path) -> None:
    """What was before it is in the file and does not count."""
    old, new = Rig(), Rig()
    state = opened(path, old.settings)
    state.keep(old.engine)
    old.rest(old.ann, seto.SIDE_BUY, 5000, 10)
    state.keep(new.engine, from_the_beginning=True)
    assert old.engine.on_change is None
    new.rest(new.bob, seto.SIDE_SELL, 5000, 7)
    state.close()
    engine, changes = read_again(path, new)
    assert changes == 1
    assert picture(engine) == picture(new.engine)


def test_a_long_log_is_read_in_one_go(path: pathlib.Path) -> None:
    """Thousands of changes, written in few transactions."""
    rig = Rig(history_limit=10, finished_orders=10)
    state = opened(path, rig.settings)
    state.keep(rig.engine)
    state.start()
    for number in range(5000):
        rig.rest(rig.ann if number % 2 else rig.bob, seto.SIDE_BUY, 5000, 1)
        if number % 100 == 0:
            gevent.sleep(0)
    state.close()
    again = Rig(history_limit=10, finished_orders=10)
    state = opened(path, again.settings)
    assert state.replay(again.engine) == 5000
    state.close()
    assert picture(again.engine) == picture(rig.engine)


# --- kill -9 -------------------------------------------------------------------------------------

CHILD = """
from gevent import monkey

monkey.patch_all()

import sys

import gevent

from tests.exchange.test_changes import Play
from tests.exchange_live.test_state_file import opened
from tests.rig.trading import Rig

rig = Rig()
state = opened(sys.argv[1], rig.settings)
state.replay(rig.engine)
state.keep(rig.engine)
state.start()
play = Play(rig, int(sys.argv[2]))
while True:
    play.go(20)
    noted = state._number
    state.flush()
    print(noted, flush=True)
"""


def test_a_killed_process_loses_nothing_that_was_written(path: pathlib.Path) -> None:
    """After kill -9 the books are those of a beginning of what was done, with all that was flushed in it."""
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(path), "11"], stdout=subprocess.PIPE, text=True, cwd=os.getcwd()
    )
    try:
        assert child.stdout is not None
        flushed = 0
        while flushed < 400:
            flushed = int(child.stdout.readline())
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert child.stdout is not None
        rest = child.stdout.read().split()
        child.stdout.close()
    flushed = max([flushed, *map(int, rest)])
    assert os.path.exists(f"{path}-wal")
    engine, changes = read_again(path, Rig())
    assert changes >= flushed >= 400
    # The same play, up to the same change, beside it.
    expected = Rig()
    told: list[object] = []
    play = Play(expected, 11)

    class Enough(Exception):
        """So many changes were made."""

    def count(change: object) -> None:
        told.append(change)

    expected.engine.on_change = count
    while len(told) < changes:
        play.go(1)
    expected.engine.on_change = None
    assert len(told) == changes
    assert picture(engine) == picture(expected.engine)
    # And the file goes on.
    state = opened(path)
    fresh = Rig()
    assert state.replay(fresh.engine) == changes
    state.keep(fresh.engine)
    fresh.operate("deposit", account="ann", amount="1")
    state.close()
    assert read_again(path, Rig())[1] == changes + 1


# --- files that cannot be used ---------------------------------------------------------------------


def made(path: pathlib.Path) -> bytes:
    """A state file with a few changes in it; what its bytes are."""
    rig = Rig()
    state = opened(path, rig.settings)
    state.keep(rig.engine)
    Play(rig, 1).go(200)
    state.close()
    return path.read_bytes()


def edit(path: pathlib.Path, *statements: str) -> None:
    """Change the file behind its owner's back."""
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def overwrite(offset: int, data: bytes) -> Callable[[pathlib.Path], None]:
    """Put bytes into a file; a negative offset counts from its end."""

    def change(path: pathlib.Path) -> None:
        whole = bytearray(path.read_bytes())
        start = offset if offset >= 0 else len(whole) + offset
        whole[start : start + len(data)] = data
        path.write_bytes(bytes(whole))

    return change


DAMAGES: dict[str, tuple[Callable[[pathlib.Path], None], str]] = {
    "no database": (lambda path: path.write_bytes(b"[accounts]\n" * 50), "is no state file of an exchange"),
    "too short": (lambda path: path.write_bytes(path.read_bytes()[:60]), "is no state file of an exchange"),
    "another program's": (
        lambda path: edit(path, "PRAGMA application_id = 7"),
        "is no state file of an exchange",
    ),
    "newer": (
        lambda path: edit(path, "PRAGMA user_version = 9"),
        "was made by a newer version of this package (layout 9; this one knows 1)",
    ),
    "older rules": (
        lambda path: edit(path, "UPDATE meta SET value = '0' WHERE name = 'rules'"),
        "was written under rules 0 of the exchange, and these are 1",
    ),
    "cut off": (lambda path: path.write_bytes(path.read_bytes()[:-5000]), "is damaged"),
    "scribbled over": (overwrite(-9000, os.urandom(6000)), "is damaged"),
    "a table gone": (lambda path: edit(path, "DROP TABLE logins"), "is damaged"),
    "rules gone": (lambda path: edit(path, "DELETE FROM meta WHERE name = 'rules'"), "is damaged"),
    "setup unreadable": (
        lambda path: edit(path, "UPDATE meta SET value = '[' WHERE name = 'setup'"),
        "is damaged",
    ),
    "setup of another kind": (
        lambda path: edit(path, "UPDATE meta SET value = '[]' WHERE name = 'setup'"),
        "is damaged",
    ),
    "a change gone": (
        lambda path: edit(path, "DELETE FROM changes WHERE number = 3"),
        "is damaged, and was left as it is: 1 of ",
    ),
}


@pytest.mark.parametrize("damage", sorted(DAMAGES))
def test_a_file_that_cannot_be_used_is_left_alone(path: pathlib.Path, damage: str) -> None:
    """It is said what is wrong, and not a byte is changed."""
    made(path)
    change, sentence = DAMAGES[damage]
    change(path)
    before = path.read_bytes()
    with pytest.raises(ConfigError) as caught:
        opened(path)
    assert sentence in str(caught.value)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


FIRST = "WHERE number = (SELECT min(number) FROM changes WHERE kind = 'request')"
AGAIN = "cannot be made again"
CHANGES: dict[str, tuple[str, str]] = {
    "of no kind": ("UPDATE changes SET kind = 'x' WHERE number = 5", f"change 5 (x) {AGAIN}"),
    "no message": (
        f"UPDATE changes SET data = x'ff' {FIRST}",
        f"(request) {AGAIN}",
    ),
    "of no message": (
        f"UPDATE changes SET name = 'x' {FIRST}",
        f"(request) {AGAIN}",
    ),
    "of nobody": (
        "UPDATE changes SET account = 'x' WHERE kind = 'request'",
        f"(request) {AGAIN}",
    ),
    "no verb": ("UPDATE changes SET name = 'x' WHERE kind = 'operate'", f"(operate) {AGAIN}"),
    "no arguments": (
        "UPDATE changes SET data = '[]' WHERE kind = 'operate'",
        f"(operate) {AGAIN}",
    ),
    "another one": (
        "UPDATE changes SET data = (SELECT data FROM changes WHERE name = 'seto.order_create' LIMIT 1)"
        " WHERE name = 'seto.order_create'",
        "",
    ),
}


@pytest.mark.parametrize("name", sorted(CHANGES))
def test_a_change_that_cannot_be_made_again_is_told(path: pathlib.Path, name: str) -> None:
    """Which one, and why; if it can be made and leads elsewhere, the fingerprint tells."""
    made(path)
    statement, sentence = CHANGES[name]
    edit(path, statement)
    before = path.read_bytes()
    state = opened(path)
    with pytest.raises(ConfigError) as caught:
        state.replay(Rig().engine)
    state.close()
    assert sentence in str(caught.value)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == before


def test_other_rules_are_noticed(path: pathlib.Path) -> None:
    """An engine that makes other books of the same requests is not taken for the one that wrote the file."""
    made(path)
    edit(path, "UPDATE meta SET value = replace(value, 'a', 'b') WHERE name = 'checked'")
    state = opened(path)
    with pytest.raises(ConfigError, match="was written under other rules of the exchange"):
        state.replay(Rig().engine)
    state.close()


@pytest.mark.parametrize(
    ("setup", "sentence"),
    [
        (Setup(("ann", "bob"), PLACES, Rig().settings), "it has 3 accounts (ann, ...) and not 2 accounts"),
        (Setup((), PLACES, Rig().settings), "it has 3 accounts (ann, ...) and not no accounts"),
        (
            Setup(NAMES, {1: (2,)}, Rig().settings),
            "it has 2 markets with 3 contracts and not 1 markets with 1",
        ),
        (
            Setup(NAMES, PLACES, Rig(netting="market", opening_balance=Decimal(5)).settings),
            "its opening_balance is '1E+4' and not '5'; its netting is 'none' and not 'market'",
        ),
    ],
)
def test_a_file_of_another_exchange_is_refused(path: pathlib.Path, setup: Setup, sentence: str) -> None:
    """Everything that differs is named, and the file left as it is."""
    before = made(path)
    with pytest.raises(ConfigError) as caught:
        StateFile.open(path, setup, identity)
    assert f"belongs to another exchange: {sentence}" in str(caught.value)
    assert path.read_bytes() == before


def test_an_amount_is_the_same_however_it_is_written(path: pathlib.Path) -> None:
    """10000 and 10000.00 are one opening balance."""
    made(path)
    state = opened(path, Rig(opening_balance=Decimal("10000.000")).settings)
    state.close()


def test_a_file_that_others_can_read_is_refused(path: pathlib.Path) -> None:
    """It holds passwords."""
    made(path)
    path.chmod(0o640)
    with pytest.raises(ConfigError, match=r"can be read by others \(mode 0640\): chmod 600 it"):
        opened(path)


@pytest.mark.parametrize(("name", "why"), [("missing/books.db", "No such file"), (".", "is no file")])
def test_a_place_where_no_file_can_be_is_told(tmp_path: pathlib.Path, name: str, why: str) -> None:
    """A folder that there is not, or a folder where the file should be."""
    with pytest.raises(ConfigError, match=why):
        opened(tmp_path / name)
    assert os.listdir(tmp_path) == []


def test_a_file_has_one_owner(path: pathlib.Path) -> None:
    """A second one in the same process is refused, and the first goes on."""
    rig = Rig()
    state = opened(path, rig.settings)
    with pytest.raises(ConfigError, match="is in use: another exchange keeps its books there"):
        opened(path)
    state.keep(rig.engine)
    rig.rest(rig.ann, seto.SIDE_BUY, 5000, 10)
    state.close()
    assert read_again(path, rig)[1] == 1


SECOND = """
import sys

from smarkets_pool.exceptions import ConfigError
from tests.exchange_live.test_state_file import opened

try:
    opened(sys.argv[1])
except ConfigError as error:
    print(error)
"""


def test_a_file_has_one_owner_over_processes(path: pathlib.Path) -> None:
    """A second process is refused too, also when one in this process has tried before."""
    state = opened(path)
    with pytest.raises(ConfigError, match="is in use"):
        opened(path)
    said = subprocess.run(
        [sys.executable, "-c", SECOND, str(path)], capture_output=True, text=True, check=True, cwd=os.getcwd()
    )
    assert "is in use: another exchange keeps its books there" in said.stdout
    state.close()


# --- the file itself -------------------------------------------------------------------------------


def test_a_new_file_is_its_owner_s_alone(path: pathlib.Path) -> None:
    """Mode 0600, whatever the umask, and so are the files that SQLite keeps beside it."""
    before = os.umask(0)
    try:
        state = opened(path)
        rig = Rig()
        state.keep(rig.engine)
        rig.rest(rig.ann, seto.SIDE_BUY, 5000, 10)
        state.flush()
        names = os.listdir(path.parent)
        assert sorted(names) == ["books.db", "books.db-wal"]
        assert {stat.S_IMODE((path.parent / name).stat().st_mode) for name in names} == {0o600}
        state.close()
        assert os.listdir(path.parent) == ["books.db"]
    finally:
        os.umask(before)


def test_an_empty_file_is_a_new_one(path: pathlib.Path) -> None:
    """As ``mktemp`` makes them; it is replaced by one that is its owner's alone."""
    path.touch(0o644)
    opened(path).close()
    assert int.from_bytes(path.read_bytes()[68:72], "big") == APPLICATION_ID
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_nothing_is_left_of_a_file_that_could_not_be_made(path: pathlib.Path) -> None:
    """An error on the way leaves no half of one."""

    def failing() -> Identity:
        return Identity([], b"\xff", b"")

    with pytest.raises(UnicodeDecodeError):
        StateFile.open(path, Setup(NAMES, PLACES, Rig().settings), failing)
    assert os.listdir(path.parent) == []


def test_secrets_are_in_no_repr(path: pathlib.Path) -> None:
    """Neither in the file's nor in those of its parts."""
    state = opened(path)
    shown = repr(state) + repr(state.identity)
    assert shown.startswith(f"<StateFile {str(path)!r}, 0 changes>")
    assert "pw-ann" not in shown and "token-ann" not in shown and "key" not in shown.partition("Identity")[2]
    state.close()


def test_close_again_is_fine(path: pathlib.Path) -> None:
    """And a start behind it is refused."""
    state = opened(path)
    state.close()
    state.close()
    with pytest.raises(UsageError, match="was let go: make another exchange with it"):
        state.start()


# --- when the disk fails ---------------------------------------------------------------------------


#: An event that can be told, with a number that no JSON has.
ACCEPTED = {
    "seq": Decimal(1),
    "order_id": 1,
    "market_id": MARKET,
    "contract_id": CONTRACT,
    "side": "SIDE_BUY",
    "price": 1,
    "quantity": 1,
}


@pytest.fixture
def failing_disk(path: pathlib.Path) -> Iterator[tuple[StateFile, Rig]]:
    """A file with one change in it whose next writes fail."""
    rig = Rig()
    state = opened(path, rig.settings)
    state.keep(rig.engine)
    rig.rest(rig.ann, seto.SIDE_BUY, 5000, 10)
    state.flush()
    state._connection.execute("PRAGMA query_only = on")
    yield state, rig
    state.close()


def test_a_failing_disk_is_told_once_and_stops_nobody(
    failing_disk: tuple[StateFile, Rig], path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The exchange goes on, the log says that its books are not kept any more, and the file stays good."""
    state, rig = failing_disk
    state.start()
    with caplog.at_level(logging.ERROR):
        rig.rest(rig.bob, seto.SIDE_BUY, 4000, 10)
        eventually(lambda: state.failure is not None)
        rig.rest(rig.bob, seto.SIDE_BUY, 4000, 10)
        state.flush()
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert f"the state file {path} is not kept any more: attempt to write" in caplog.text
    state.close()
    assert read_again(path, Rig())[1] == 1


def test_a_failure_at_the_end_is_told_too(
    failing_disk: tuple[StateFile, Rig], path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    """When the last changes cannot be written, close says so and lets the file go all the same."""
    state, rig = failing_disk
    rig.rest(rig.bob, seto.SIDE_BUY, 4000, 10)
    with caplog.at_level(logging.ERROR):
        state.close()
    assert "is not kept any more" in caplog.text
    assert read_again(path, Rig())[1] == 1


def test_what_waits_has_a_bound(
    path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A disk that does not answer costs the file and no memory."""
    monkeypatch.setattr(state_module, "MAX_WAITING", 3)
    rig = Rig()
    state = opened(path, rig.settings)
    state.keep(rig.engine)
    with caplog.at_level(logging.ERROR):
        for _ in range(5):
            rig.rest(rig.ann, seto.SIDE_BUY, 5000, 10)
    assert state.failure is not None and "3 others wait for the disk" in state.failure
    assert len(caplog.records) == 1
    assert len(state._waiting) == 3
    state.keep(Rig().engine, from_the_beginning=True)
    state.close()
    assert read_again(path, rig)[1] == 3


def test_a_change_that_cannot_be_written_stops_nobody(
    path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever asked for it hears of its effects, and the file ends before it."""
    rig = Rig()
    state = opened(path, rig.settings)
    state.keep(rig.engine)
    rig.operate("deposit", account="ann", amount="1")
    with caplog.at_level(logging.ERROR):
        told = rig.operate("tell", account="ann", name="seto.order_accepted", fields=ACCEPTED)
    assert len(told) == 1
    assert "cannot be written: TypeError" in caplog.text
    rig.operate("deposit", account="ann", amount="1")
    state.close()
    assert read_again(path, Rig())[1] == 1


def test_a_time_that_cannot_be_written_stops_nobody(path: pathlib.Path) -> None:
    """A clock that runs wild is the same as a disk that fails."""
    rig = Rig()
    state = opened(path, rig.settings)
    state.keep(rig.engine)
    state.start()
    rig.now_us = 2**70
    rig.operate("deposit", account="ann", amount="1")
    eventually(lambda: state.failure is not None)
    state.close()


# --- an exchange that has one ------------------------------------------------------------------------


def exchange(path: pathlib.Path, **options: Any) -> EmbeddedExchange:
    """A plain one of a few accounts, with its books in that file."""
    return EmbeddedExchange(**{"accounts": 2, "markets": 1, "tls": False, "state": path, **options})


def test_clients_log_in_again_with_what_they_have(path: pathlib.Path) -> None:
    """Credentials and the CA are the same after a restart, and verified; the CA's file stays where it is."""
    seen = []
    for _ in range(2):
        with exchange(path, tls=True) as served:
            place = {"host": served.host, "port": served.port, "ca_file": f"{path}.ca.pem"}
            assert served.ca_file == place["ca_file"]
            seen.append((served.logins, pathlib.Path(place["ca_file"]).read_bytes()))
            login = seen[0][0][0]
            for credentials in (
                {"username": login.username, "password": login.password},
                {"token": login.token},
            ):
                session = Session(SessionSettings(**credentials, **place))
                session.log_in()
                session.disconnect()
        assert os.path.exists(place["ca_file"])
    assert seen[0] == seen[1]


def test_a_restart_within_the_process_is_kept(path: pathlib.Path) -> None:
    """With its books they go on; without them the next exchange begins where this one began again."""
    with exchange(path) as served:
        username = served.logins[0].username
        served.operate("deposit", account=username, amount="1")
        served.restart(keep="all")
        served.operate("deposit", account=username, amount="2")
    with exchange(path) as served:
        assert served.exchange.accounts[username].cash_points == 10_003 * 10**8
        served.restart(keep="nothing")
        served.operate("deposit", account=username, amount="5")
    with exchange(path) as served:
        assert served.exchange.accounts[username].cash_points == 10_005 * 10**8


def test_house_traders_go_on(path: pathlib.Path) -> None:
    """Their accounts, orders and bets are there again, and they trade on with them."""
    settings = ExchangeSettings(truth_limit=10)
    lively = ActivitySettings(quotes=200.0, takes=50.0)
    before = None
    for _ in range(2):
        with exchange(path, settings=settings, activity=lively) as served:
            house = served.exchange.accounts["house-taker-1"]
            engine = served.exchange.engine
            if before is not None:
                assert fingerprint(engine) == before
            known = house.next_account_sequence
            eventually(lambda known=known, house=house: house.next_account_sequence > known + 5)
        assert served.state is not None and served.state.failure is None
        before = fingerprint(engine)
    assert house.online == 1


def test_an_exchange_that_cannot_be_made_lets_the_file_go(path: pathlib.Path) -> None:
    """Whatever else is wrong, the file can be used right afterwards."""
    (path.parent / "books.db.ca.pem").mkdir()
    with pytest.raises(ConfigError, match=r"books\.db\.ca\.pem.* cannot be written"):
        exchange(path, tls=True)
    with exchange(path):
        pass


def test_an_exchange_with_a_file_ends_once(path: pathlib.Path) -> None:
    """Starting it again would keep nothing, so it is refused."""
    with exchange(path) as served:
        pass
    with pytest.raises(UsageError, match="was let go"):
        served.start()


def test_a_flood_has_no_books(path: pathlib.Path) -> None:
    """The two together are refused."""
    with pytest.raises(UsageError, match="a flood has no books to keep"):
        exchange(path, flood=Flood())
    assert not path.exists()


def test_a_pool_resumes_over_a_restart(path: pathlib.Path) -> None:
    """Every event is handled once and in order, those of the time between too; nothing is missing."""
    seen: dict[str, list[int]] = {"0": [], "1": []}
    gaps: list[object] = []
    with exchange(path) as first:
        place = [first.settings_for(number) for number in range(2)]
        usernames = [login.username for login in first.logins]
        market_id, port = first.market_ids[0], first.port
        contract_id = first.contract_ids[market_id][0]
        pool = Pool(
            [Account(str(number), **place[number]) for number in range(2)],
            reconnect=ReconnectPolicy(backoff=Backoff(initial=0.01, cap=0.05)),
        )

        @pool.on("seto.order_accepted")
        @pool.on("seto.order_executed")
        def on_event(delivery) -> None:
            seen[delivery.account].append(delivery.account_sequence)

        pool.add_handler("member.gap", gaps.append)
        pool.start()
        pool.wait_until_up(timeout=10)

        def order(side: seto.Side) -> seto.OrderCreate:
            return seto.OrderCreate(
                side=side, price=5000, quantity=10_000, market_id=market_id, contract_id=contract_id
            )

        pool["0"].send(order(seto.SIDE_BUY))
        eventually(lambda: seen["0"] == [1])
    try:
        with exchange(path, port=port) as second:
            # While everybody is away: the order that rests from before is hit.
            accounts: Accounts = second.exchange.accounts
            second.exchange.request_without_session(
                accounts[usernames[1]], order(seto.SIDE_SELL), 9, second.now()
            )
            pool.wait_until_up(timeout=10)
            eventually(lambda: seen == {"0": [1, 2], "1": [1, 2]})
            pool["0"].send(order(seto.SIDE_BUY))
            eventually(lambda: seen["0"] == [1, 2, 3])
            pool.stop()
    finally:
        pool.stop()
    assert gaps == []
