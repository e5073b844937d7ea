"""``smarkets-pool exchange --flood``: a flood source as a process of its own."""

from __future__ import annotations

import pathlib

import pytest

from smarkets_pool.session import Session, SessionSettings
from tests.cli.test_exchange_command import run, serving
from tests.rig.ends import brief


def test_a_flood_source_as_a_process(tmp_path: pathlib.Path) -> None:
    """Whoever logs in gets what was asked for, over TLS, and then a logout."""
    with serving(tmp_path, "--flood", "contract_quotes=3 heartbeat=1 frames=2000") as where:
        login = where["accounts"][0]
        place = {"host": where["host"], "port": where["port"], "ca_file": where["ca_file"]}
        session = Session(SessionSettings(login["username"], login["password"], **place))
        session.log_in()
        names = []
        while session.socket.connected and names[-1:] != ["logout"]:
            while (frame := session.next_frame()) is not None:
                names.append(brief(frame.protobuf).split()[1])
            if names[-1:] != ["logout"]:
                session.read()
        session.disconnect()
    assert session.inseq == 2002
    assert names.count("contract_quotes") > names.count("heartbeat") > 400


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (("--flood", "quotes=3"), 1, "a flood has no 'quotes'; it can have contract_quotes, "),
        (("--flood", "--activity"), 2, "--flood and --activity are two different things"),
        (("--flood", "--state", "x"), 1, "a flood has no books to keep: give flood or state, not both"),
    ],
)
def test_a_flood_that_cannot_be_is_refused(
    tmp_path: pathlib.Path, arguments: tuple[str, ...], status: int, sentence: str
) -> None:
    """In a sentence, and nothing is left behind."""
    said = run("exchange", "--port", "0", *(str(tmp_path / a) if a == "x" else a for a in arguments))
    assert said.returncode == status
    assert sentence in " ".join(said.stderr.split())
    assert list(tmp_path.iterdir()) == []
