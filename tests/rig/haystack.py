"""Looking for secrets: every form one can be written in, and the texts to look through, by sink."""

from __future__ import annotations

import base64
import collections
import copy
import dataclasses
import html
import json
import os
import pickle
import re
import traceback
import types
import urllib.parse
from collections.abc import Iterable, Iterator
from typing import Any

import smarkets_pool

__all__ = ["Haystack", "about", "error_texts", "forms", "variables", "without_sequences"]

#: Long enough to be no accident, short enough that a part of the secret counts.
SHORTEST = 8
_PACKAGE = os.path.dirname(smarkets_pool.__file__) + os.sep
_SEQUENCE = re.compile(r"\x1b\[\??[\d;]*[A-Za-z]")


def forms(secret: str) -> set[str]:
    """The secret as it may be written: whole and in halves, escaped, in other bases, backwards, in UTF-16."""
    half = len(secret) // 2
    found = set()
    for text in (secret, secret[:half], secret[half:], secret[::-1]):
        if len(text) < SHORTEST:
            continue
        found |= set(_written(text))
    for raw in (secret.encode(), secret.encode("utf-16-le"), secret.encode("utf-16-be")):
        found |= set(_encoded(raw))
    return {text for text in found if len(text) >= SHORTEST}


def _written(text: str) -> Iterator[str]:
    raw = text.encode()
    yield text
    # repr() chooses its quotes by what is in the text; inside of a longer one it may choose others.
    for quote in "'\"":
        yield repr(text + quote)[1:-2]
        yield repr(quote + text)[2:-1]
        yield repr(quote.encode() + raw)[3:-1]
    yield ascii(text)[1:-1]
    yield repr(raw)[2:-1]
    yield raw.decode("latin-1")
    yield text.encode("unicode_escape").decode()
    yield json.dumps(text)[1:-1]
    yield json.dumps(text, ensure_ascii=False)[1:-1]
    yield urllib.parse.quote(text)
    yield urllib.parse.quote(text, safe="")
    yield urllib.parse.quote_plus(text)
    yield html.escape(text)
    # As protobuf writes messages for people.
    yield "".join(_octal(byte) for byte in raw)
    yield "\\".join(text)  # shell's, at its worst


def _octal(byte: int) -> str:
    character = chr(byte)
    if character in "\\'\"":
        return "\\" + character
    return character if 32 <= byte < 127 else f"\\{byte:03o}"


def _encoded(raw: bytes) -> Iterator[str]:
    yield raw.hex()
    yield raw.hex().upper()
    yield raw.hex(" ")
    yield raw.hex(" ").upper()
    yield raw.hex(":")
    yield raw.hex(":").upper()
    yield raw.decode("latin-1")
    yield repr(raw)[2:-1]
    for lead in range(3):
        for code in (base64.b64encode, base64.urlsafe_b64encode):
            # What stands before and behind the secret shares a character with it: these are left out.
            text = code(b"\0" * lead + raw).decode().rstrip("=")
            cut = 1 if (lead + len(raw)) % 3 else 0
            yield text[(lead * 8 + 5) // 6 : len(text) - cut]


def without_sequences(text: str) -> str:
    """What a terminal would show of a text, as one piece: no colours, no frames, no line ends."""
    return re.sub(r"[\r\n│╭╮╰╯─━╸╺]", "", _SEQUENCE.sub("", text))


class Haystack:
    """Texts by sink, and what must not be in them."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self.secrets = sorted(set(secrets))
        assert all(len(secret) >= SHORTEST for secret in self.secrets)
        self._forms = {secret: forms(secret) for secret in self.secrets}
        # Texts once each, in order: objects are shown again and again.
        self._texts: dict[str, dict[str, None]] = collections.defaultdict(dict)

    def add(self, sink: str, *texts: str) -> None:
        """Put texts of a sink in."""
        self._texts[sink].update(dict.fromkeys(texts))

    def check(self, canary: str, *, without_canary: Iterable[str] = ()) -> None:
        """Fail if any secret is in any sink, or if the canary is not: then nothing reached that sink.

        Which sinks are empty of it, because all they hold is empty, has to be said.
        """
        looked_through: set[str] = set()
        for sink, texts in self._texts.items():
            whole = "\n\n".join(text for text in texts if text not in looked_through)
            looked_through.update(texts)
            for secret, spellings in self._forms.items():
                for form in spellings:
                    at = whole.find(form)
                    found = whole[max(0, at - 200) :][:500]
                    assert at < 0, f"{secret!r} is in {sink}, as {form!r}: {found!r}"
            if sink not in without_canary:
                self._check_search(sink, canary)

    def _check_search(self, sink: str, canary: str) -> None:
        """Something came to the sink, and a secret in the place of that would have been found."""
        text = next((text for text in self._texts[sink] if canary in text), None)
        assert text is not None, f"the canary never came to {sink}: {list(self._texts[sink])[:5]}"
        for secret, spellings in self._forms.items():
            planted = text.replace(canary, secret)
            assert any(form in planted for form in spellings)

    def __str__(self) -> str:
        spellings = sum(map(len, self._forms.values()))
        lines = [f"{len(self.secrets)} secrets in {spellings} forms, looked for in"]
        for sink, texts in sorted(self._texts.items()):
            lines.append(f"  {sink:45} {len(texts):6} texts, {sum(map(len, texts)):9} characters")
        return "\n".join(lines)


# --- what there is to say about a thing --------------------------------------------------------------


def about(thing: Any, *, holder: bool = False) -> list[str]:
    """Whatever shows an object: ``repr``, ``str``, its attributes, itself as plain data, copies, a pickle.

    The attributes of a ``holder`` are left out: there a secret is kept, and vars() does not show it.
    """
    found = [repr(thing), str(thing), f"{thing}", repr([thing])]
    attributes = {name: getattr(thing, name) for name in _slots(thing) if hasattr(thing, name)}
    attributes |= getattr(thing, "__dict__", {})
    if not holder:
        found.append(repr(attributes))
    if dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        try:
            found.append(repr(dataclasses.asdict(thing)))
        except Exception as error:
            found += error_texts(error)
    for way in (_pickled, copy.copy, copy.deepcopy):
        try:
            found.append(str(way(thing)))
        except Exception as error:
            found += error_texts(error)
    return found


def _pickled(thing: Any) -> str:
    return pickle.dumps(thing).decode("latin-1")


def _slots(thing: Any) -> list[str]:
    return [
        f"_{cls.__name__.lstrip('_')}{name}" if name.startswith("__") else name
        for cls in type(thing).__mro__
        for name in getattr(cls, "__slots__", ())
        if name not in ("__weakref__", "__dict__")
    ]


def error_texts(error: BaseException | None, *, seen: tuple[int, ...] = ()) -> list[str]:
    """Texts of an error, its attributes, all it came from, and its traceback with our variables in it."""
    if error is None or id(error) in seen:
        return []
    found = [str(error), repr(error), repr(error.args), repr(vars(error)), repr(getattr(error, "object", ""))]
    found += traceback.format_exception(error)
    found += variables(error.__traceback__)
    seen = (*seen, id(error))
    return found + error_texts(error.__cause__, seen=seen) + error_texts(error.__context__, seen=seen)


def variables(trace: types.TracebackType | types.FrameType | None) -> list[str]:
    """The local variables of the package's frames, from a traceback or up from a frame."""
    frames = []
    while trace is not None:
        if isinstance(trace, types.FrameType):
            frames.append(trace)
            trace = trace.f_back
        else:
            frames.append(trace.tb_frame)
            trace = trace.tb_next
    return [
        f"{frame.f_code.co_name}: {name} = {_safe_repr(value)}"
        for frame in frames
        if frame.f_code.co_filename.startswith(_PACKAGE)
        for name, value in frame.f_locals.items()
    ]


def _safe_repr(value: object) -> str:
    try:
        return repr(value)
    except Exception as error:  # half made, or half gone
        return f"<{type(error).__name__}>"
