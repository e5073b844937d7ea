"""``Subscriptions``: standing wishes of a member, sent again after each login."""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.message import Message

from smarkets_pool.wire.payloads import message_name

__all__ = ["Subscriptions"]

_SUBSCRIBE = "_subscribe"
_UNSUBSCRIBE = "_unsubscribe"


class Subscriptions:
    """Remembers every ``*_subscribe`` message until its ``*_unsubscribe``, and the last ``settings``.

    Settings come first, so that a session is armed before it does anything.
    """

    def __init__(self) -> None:
        self._settings: Message | None = None
        self._wishes: dict[tuple[str, bytes], Message] = {}

    def __len__(self) -> int:
        return len(self._wishes) + (self._settings is not None)

    def __iter__(self) -> Iterator[Message]:
        if self._settings is not None:
            yield self._settings
        yield from list(self._wishes.values())

    @staticmethod
    def is_wish(message: Message) -> bool:
        """Whether this is a subscription or the end of one."""
        return (message_name(type(message)) or "").endswith((_SUBSCRIBE, _UNSUBSCRIBE))

    def note(self, message: Message) -> None:
        """Remember, replace or drop a wish; any other message is none."""
        name = message_name(type(message)) or ""
        if name == "seto.settings":
            self._settings = _copy(message)
        elif name.endswith(_SUBSCRIBE):
            self._wishes[_key(name, _SUBSCRIBE, message)] = _copy(message)
        elif name.endswith(_UNSUBSCRIBE):
            self._wishes.pop(_key(name, _UNSUBSCRIBE, message), None)


def _key(name: str, ending: str, message: Message) -> tuple[str, bytes]:
    # Both messages of a pair have the same fields, so the same id gives the same bytes.
    return name[: -len(ending)], message.SerializeToString(deterministic=True)


def _copy(message: Message) -> Message:
    kept = type(message)()
    kept.CopyFrom(message)
    return kept
