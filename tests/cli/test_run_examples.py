"""The annotated configuration and the handlers among the examples."""

from __future__ import annotations

import pathlib
import re
import shutil
import stat

import pytest

from smarkets_pool import Pool, seto
from smarkets_pool.config import TABLES, load, read, read_text
from smarkets_pool.exchange import EmbeddedExchange
from tests.cli.running import LIMIT, POLICIES, Running, account, checked, defaults, write
from tests.rig.waiting import eventually

EXAMPLES = pathlib.Path(__file__).parent.parent.parent / "examples"


@pytest.fixture
def copied(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """The example in a folder of its own, with the secrets that it names."""
    monkeypatch.setenv("ALICE_PASSWORD", "a-secret")
    monkeypatch.setenv("CAROL_TOKEN", "c-secret")
    shutil.copy(EXAMPLES / "accounts.toml", tmp_path)
    shutil.copy(EXAMPLES / "bot.py", tmp_path)
    (tmp_path / "secrets").mkdir()
    write(tmp_path / "secrets" / "bob", "b-secret\n")
    return tmp_path / "accounts.toml"


def test_the_annotated_file_is_a_good_one(copied: pathlib.Path) -> None:
    """Three accounts as it says, readable by everybody because no secret stands in it."""
    copied.chmod(0o644)
    config = load(copied)
    made = {name: entry.account() for name, entry in config.accounts.items()}
    assert [made["alice"].settings.password(), made["bob"].settings.password()] == ["a-secret", "b-secret"]
    carol = made["carol"]
    assert (carol.settings.token(), carol.settings.port, carol.settings.host) == (
        "c-secret",
        3802,
        "localhost",
    )
    assert carol.timeouts.give_up_after == 60.0
    assert carol.timeouts.probe_after == config.timeouts.probe_after == 10.0
    assert carol.reconnect.max_attempts == 100
    assert carol.reconnect.backoff == config.reconnect.backoff
    assert carol.cancel_on_failure
    assert list(Pool.from_toml(copied)["carol"]._subscriptions) == [
        seto.Settings(cancel_all_on_failure=True),
        seto.MarketSubscribe(market_id=100000),
        seto.MarketSubscribe(market_id=100001),
    ]


def test_without_its_secrets_it_says_what_is_missing(
    copied: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first thing that happens to whoever tries it."""
    monkeypatch.delenv("ALICE_PASSWORD")
    monkeypatch.delenv("CAROL_TOKEN")
    (copied.parent / "secrets" / "bob").unlink()
    assert [problem.path for problem in read(copied).problems] == [
        "accounts.alice.password",
        "accounts.bob.password",
        "accounts.carol.token",
    ]


def test_run_takes_it_with_the_example_handlers(copied: pathlib.Path) -> None:
    """As the first lines of the file say."""
    said = checked(copied.parent, "accounts.toml", "--handlers", "bot", "--check")
    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout.startswith("accounts.toml: 3 accounts, 5 handlers")
    assert said.stdout.endswith("; nothing was connected to\n")


def test_every_key_is_in_it_or_shown_in_a_comment() -> None:
    """With a value; a new key has to be shown there too."""
    text = (EXAMPLES / "accounts.toml").read_text()
    shown = set(re.findall(r"^(?:# )?(\w+) = ", text, re.MULTILINE))
    shown |= set(re.findall(r"^\[(?:[\w]+\.)*(\w+)\]", text, re.MULTILINE))
    assert {name for keys in TABLES.values() for name in keys} <= shown


def test_what_is_commented_out_is_the_default() -> None:
    """Uncommented, every such line is accepted, and those that are to be the default change nothing."""
    text = (EXAMPLES / "accounts.toml").read_text()
    head, _, _ = text.partition("# --- what every account has in common")
    plain = "\n".join(line for line in head.splitlines() if not re.match(r"\w+ = ", line))
    shown = re.sub(r"^# (\w+ = )", r"\1", plain, flags=re.MULTILINE).replace("max_attempts = 10 ", "# ")
    login = '\n[accounts.a]\ntoken = "t"\n'
    default, uncommented = read_text(login), read_text(shown + login)
    assert uncommented.problems == ()
    assert shown.count("\n[") == 4
    assert (uncommented.reconnect, uncommented.timeouts) == (default.reconnect, default.timeouts)


def test_the_example_handlers_trade(tmp_path: pathlib.Path) -> None:
    """Every account but the last buys, the last one sells to them, and each execution is printed."""
    shutil.copy(EXAMPLES / "bot.py", tmp_path)
    with EmbeddedExchange(accounts=3, tls=False) as exchange:
        accounts = "".join(account(exchange, number) for number in range(3))
        path = write(tmp_path / "pool.toml", POLICIES + defaults(exchange) + accounts)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with Running(tmp_path) as running:
            running.wait_for("a: 20000 at 4000")
            running.wait_for("b: 20000 at 4000")
            running.wait_for("c: 20000 at 4000", times=2)
            eventually(lambda: exchange.truth.executions == 4, timeout=LIMIT)
            assert running.end() == 0
        assert running.err == []
