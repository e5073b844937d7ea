"""Every row of ``tests/vendor/defects.py`` against the vendor's SDK itself, which must fail it as it says.

Usage: ``python vendor_defects.py CERTIFICATES old|newer``, with the interpreter of one of the SDK's venvs:
``old`` is what it was made for, ``newer`` a newer protobuf and, if there is one, Python >= 3.12. A row that
passes here proves nothing there, so it makes the exit status 1; as does one that fails in another way.
"""

from __future__ import annotations

import faulthandler
import logging
import pathlib
import re
import sys
import warnings

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent.parent))

from tests.vendor import defects

SDK = "smarkets.streaming_api"
#: A row that hangs ends the program, with a traceback.
WHOLE_ROW = 30.0


def must_be_showable(row: defects.Row) -> None:
    """``NotHereError`` for the rows about TLS that this Python does not show."""
    has_wrap_socket = sys.version_info < (3, 12)
    if row.number == 1 and not has_wrap_socket:
        raise defects.NotHereError("no Python < 3.12 was found, and from there on the SDK's TLS cannot start")
    if row.number == 2 and has_wrap_socket:
        raise defects.NotHereError("no Python >= 3.12 was found, and before that the SDK's TLS can start")


def how_it_fails(row: defects.Row, api: defects.Api) -> str | None:
    """``module.Class: text`` of the error that leaves the row, in one line; None if it passes."""
    faulthandler.dump_traceback_later(WHOLE_ROW, exit=True)
    try:
        row.check(api)
    except defects.NotHereError:
        raise
    except Exception as error:
        kind = type(error)
        return f"{kind.__module__}.{kind.__qualname__}: {' '.join(str(error).split())}"
    finally:
        faulthandler.cancel_dump_traceback_later()
    return None


def shortened(text: str, width: int) -> str:
    """The text, cut to the width of its column, without what all of them have in common."""
    for prefix in ("builtins.", "AssertionError: ", f"{SDK}.", "exceptions."):
        text = text.removeprefix(prefix)
    return text if len(text) <= width else text[: width - 3] + "..."


def verdict(row: defects.Row, failure: str | None) -> str:
    """What stands in the table; ``WRONG`` first unless the SDK did what the row says of it."""
    if row.fails is None:
        return "kept: it passes" if failure is None else f"WRONG: it is kept, and fails: {failure}"
    if failure is None:
        return "WRONG: it passes, so the row proves nothing"
    if not re.search(row.fails, failure):
        return f"WRONG: {failure} instead of {row.fails}"
    return shortened(failure, 72)


def main() -> int:
    """Run the rows of this venv, print the table, judge."""
    certificates, which = sys.argv[1:]
    # The SDK warns of what the rows provoke, on purpose, and Python warns of the SDK.
    logging.getLogger().addHandler(logging.NullHandler())
    warnings.simplefilter("ignore", DeprecationWarning)
    api = defects.Api(SDK, pathlib.Path(certificates))
    wrong, not_shown, shown = [], [], set()
    print(f"{'row':24}  {'what is right':90}  how the SDK fails")
    for row in sorted(defects.ROWS, key=lambda row: row.number):
        if row.newer != (which == "newer"):
            continue
        try:
            must_be_showable(row)
            found = verdict(row, how_it_fails(row, api))
        except defects.NotHereError as error:
            not_shown.append(f"{row.name}: {error}")
            continue
        if found.startswith("WRONG"):
            wrong.append(row.name)
        elif row.fails is not None:
            shown.add(row.number)
        print(f"{row.name:24}  {row.what:90}  {found}", flush=True)
    for sentence in not_shown:
        print(f"*** NOT SHOWN: {sentence} ***")
    if "smarkets_pool" in sys.modules:
        wrong.append("smarkets_pool was imported")
    print(
        f"{which}: rows shown: {len(shown)}, checks not shown: {len(not_shown)}, "
        f"wrong: {', '.join(wrong) or 'none'}"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
