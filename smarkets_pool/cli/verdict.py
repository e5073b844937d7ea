"""The demo's last word: what handlers saw, event by event against the exchange's own truth."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Mapping
from typing import Any

from smarkets_pool.cli.traders import Record

__all__ = ["Comparison", "compare"]


@dataclasses.dataclass(frozen=True, slots=True)
class Comparison:
    """Events over all accounts.

    lost: in the truth and not seen. twice: seen again. unordered: seen after a later one.
    different: seen with other contents, or not in the truth at all.
    """

    events: int
    lost: int
    twice: int
    unordered: int
    different: int


def compare(truth: Mapping[str, Any], record: Record, usernames: Mapping[str, str]) -> Comparison:
    """Compare per account; ``usernames`` maps our names to the exchange's."""
    events = lost = twice = unordered = different = 0
    for name, seen in record.events.items():
        real = {
            number: (what, order_id, quantity)
            for number, what, order_id, quantity, _ in truth["accounts"].get(usernames[name], [])
        }
        events += len(real)
        counts = Counter(number for number, *_ in seen)
        lost += len(real.keys() - counts.keys())
        twice += sum(count - 1 for count in counts.values())
        unordered += sum(later[0] <= earlier[0] for earlier, later in itertools.pairwise(seen))
        different += sum(real.get(number) != tuple(rest) for number, *rest in seen)
    return Comparison(events, lost, twice, unordered, different)
