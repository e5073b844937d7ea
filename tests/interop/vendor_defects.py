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


def main() -> int:
    """Run the rows of this venv, print the table, judge."""
    certificates, which = sys.argv[1:]
    # The SDK warns of what the rows provoke, on purpose, and Python warns of the SDK.
    logging.getLogger().addHandler(logging.NullHandler())
    warnings.simplefilter("ignore", DeprecationWarning)
    api = defects.Api(SDK, pathlib.Path(certificates))
    wrong, not_shown, shown, kept = [], [], set(), set()
    print(f"{'row':24}  {'what is right':90}  how the SDK fails")
    for row in sorted(defects.ROWS, key=lambda row: row.number):
        if row.newer != (which == "newer"):
            continue
        if row.number == 2 and sys.version_info < (3, 12):
            not_shown.append(f"{row.name}: no Python >= 3.12 was found, and before it TLS works")
            continue
        try:
            failure = how_it_fails(row, api)
        except defects.NotHereError as error:
            not_shown.append(f"{row.name}: {error}")
            continue
        if row.fails is None:
            verdict = "kept: it passes" if failure is None else f"WRONG: it fails: {failure}"
            kept.add(row.number)
        elif failure is None:
            verdict = "WRONG: it passes, so the row proves nothing"
        elif re.search(row.fails, failure):
            verdict = shortened(failure, 72)
            shown.add(row.number)
        else:
            verdict = f"WRONG: {failure} instead of {row.fails}"
        if verdict.startswith("WRONG"):
            wrong.append(row.name)
        print(f"{row.name:24}  {row.what:90}  {verdict}", flush=True)
    for sentence in not_shown:
        print(f"*** NOT SHOWN: {sentence} ***")
    if "smarkets_pool" in sys.modules:
        print("WRONG: smarkets_pool was imported")
        return 1
    print(
        f"{which}: rows shown {len(shown)}, kept {len(kept)}, not shown {len(not_shown)}, "
        f"wrong {', '.join(wrong) or 'none'}"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
