"""A script against each side that it says it tests."""

from __future__ import annotations

from tests.rig.scenario.exchange_side import ExchangeSide
from tests.rig.scenario.language import Script
from tests.rig.scenario.pool_side import PoolSide
from tests.rig.scenario.report import TalkRecord
from tests.rig.scenario.runner import Runner
from tests.rig.scenario.session_side import SessionSide
from tests.rig.scenario.sides import Side
from tests.rig.scenario.socket_side import SocketSide

__all__ = ["play"]


def play(script: Script, tested: str) -> TalkRecord:
    """Play a script against ``exchange``, ``session`` or ``pool``.

    Raises:
        ScenarioFailed, ScriptError: as ``Runner.play``.
    """
    return Runner(script, _side(script, tested)).play()


def _side(script: Script, tested: str) -> Side:
    head = script.head
    if tested == "session":
        return SessionSide(head)
    if tested == "pool":
        return PoolSide(head)
    return ExchangeSide(head) if head.over == "memory" else SocketSide(head)
