"""A program written for the vendor's SDK, run by its own interpreter against the embedded exchange.

Usage: ``python vendor_program.py READY_FILE SCHEMA``. It says everything that the SDK's API can say, has the
exchange's control do what clients cannot, and sees that everything an exchange can send arrives at the
SDK's handlers, parsed right. At the end it counts the types against the schema. It knows nothing of
smarkets_pool.
"""

import csv
import sys

import vendor_markets as markets
import vendor_orders as orders
import vendor_sessions as sessions
from vendor_trader import ETO_NAMES, SETO_NAMES, Place, arrived, check, must, sent

CHAPTERS = (
    *(sessions.logins, sessions.bad_logins, sessions.old_resumption, sessions.session_layer),
    *(sessions.throttle, sessions.failing_sessions),
    *(orders.orders, orders.cancels, orders.reductions_by_members, orders.replacements, orders.refusals),
    *(markets.quotes, markets.states, markets.events, markets.managed_markets, markets.settlements),
    *(sessions.resuming, sessions.downtime),
)

REQUESTS = {
    "seto." + name
    for name in (
        *("order_create", "order_cancel", "order_cancel_all", "order_cancel_replace", "settings"),
        *("order_quantity_reduce", "market_subscribe", "market_unsubscribe", "event_subscribe"),
        *("event_unsubscribe", "price_feed_subscribe", "price_feed_unsubscribe"),
        *("market_feed_subscribe", "market_feed_unsubscribe", "login"),
    )
}
#: Types of the session layer that do not go one way, or neither, with the reason.
NEVER_SENT = {
    "seto.eto": "counted by the inner type",
    "eto.none": "the SDK leaves the inner type out",
    "eto.pong": "only an exchange answers pings",
    "eto.gapfill": "the SDK answers no replay request",
    "eto.login": "it travels inside seto.login",
    "eto.login_response": "only an exchange sends it",
    "eto.throttle_exceeded": "only an exchange sends it",
}
NEVER_ARRIVED = {
    "seto.eto": "its handlers are called by the inner type",
    "eto.ping": "only a client pings",
    "eto.login": "only a client logs in",
}


def types_of(schema):
    """The names of all payload types of a schema file, in its order."""
    with open(schema) as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return [
        row["package"] + "." + row["entry_name"][len("PAYLOAD_") :].lower()
        for row in rows
        if row["kind"] == "enum" and row["type_name"] == "PayloadType"
    ]


def never_sent(name):
    """Why a client does not send a type, None if it does."""
    if name.startswith("seto.") and name != "seto.eto":
        return None if name in REQUESTS else "only an exchange sends it"
    return NEVER_SENT.get(name)


def never_arrived(name):
    """Why a type does not come to a client's handlers, None if it does."""
    return "only a client sends it" if name in REQUESTS else NEVER_ARRIVED.get(name)


def count(schema):
    """The table of types; what is missing without a reason, or there against it, is wrong."""
    names = types_of(schema)
    must("the SDK has the schema's types", set(names) == {*ETO_NAMES.values(), *SETO_NAMES.values()})
    wrong = []
    print(f"\n{'type':37} {'sent':>8} {'arrived':>8}")
    for name in names:
        reasons = {"sent": never_sent(name), "arrived": never_arrived(name)}
        for way, counter in (("sent", sent), ("arrived", arrived)):
            if bool(counter[name]) == bool(reasons[way]):
                wrong.append(f"{name} {way} {counter[name]} times")
        notes = [f"never {way}: {reason}" for way, reason in reasons.items() if reason]
        print(f"{name:37} {sent[name]:8} {arrived[name]:8}  {'; '.join(notes)}")
    print(f"{len(names)} types{'':29} {sum(sent.values()):8} {sum(arrived.values()):8}")
    went, came = (sum(1 for name in names if counter[name]) for counter in (sent, arrived))
    check(f"{went} types were sent and {came} arrived; each of the others has a reason", not wrong, wrong)


def main():
    """The whole program."""
    ready_file, schema = sys.argv[1:]
    place = Place(ready_file)
    for chapter in CHAPTERS:
        chapter(place)
    count(schema)


if __name__ == "__main__":
    main()
