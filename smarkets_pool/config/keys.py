"""Every key a configuration file can have: one table that checks, suggestions and documents read.

The keys of ``[reconnect]``, ``[reconnect.backoff]`` and ``[timeouts]`` are the fields of the policies, with
the texts and defaults that stand there.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping

from smarkets_pool.policies import Backoff, ReconnectPolicy, TimeoutPolicy
from smarkets_pool.session.settings import DEFAULT_HOST, DEFAULT_PORT

__all__ = [
    "ACCOUNT",
    "DEFAULTS",
    "Key",
    "POLICIES",
    "POOL",
    "SUBSCRIPTIONS",
    "TABLES",
    "TOP",
    "field_texts",
    "policy_keys",
]


@dataclasses.dataclass(frozen=True, slots=True)
class Key:
    """One key: its kind (see ``kinds.py``), its default as it reads in a document, and what it does."""

    name: str
    kind: str
    default: str
    text: str


def _table(*keys: Key) -> dict[str, Key]:
    return {key.name: key for key in keys}


def policy_keys(policy: type[Backoff] | type[ReconnectPolicy] | type[TimeoutPolicy]) -> dict[str, Key]:
    """The fields of a policy as keys, with the texts of its docstring."""
    texts = field_texts(policy.__doc__ or "")  # empty under ``python -OO``
    made = policy()
    keys = {}
    for field in dataclasses.fields(policy):
        default = getattr(made, field.name)
        if isinstance(default, Backoff):
            keys[field.name] = Key(field.name, "table", "see below", texts.get(field.name, ""))
        else:
            shown = "none" if default is None else str(default)
            keys[field.name] = Key(field.name, "policy", shown, texts.get(field.name, ""))
    return keys


def field_texts(docstring: str) -> dict[str, str]:
    """``name: text`` paragraphs of a docstring; several names before the colon share one text."""
    found: dict[str, list[str]] = {}
    names: list[str] = []
    # Python 3.13 takes the indentation of docstrings away itself; here it is gone in every version.
    for line in inspect.cleandoc(docstring).splitlines():
        head, colon, rest = line.strip().partition(": ")
        words = [word.strip() for word in head.split(",")]
        if colon and not line.startswith(" ") and all(map(_is_name, words)):
            names = words
            for name in names:
                found[name] = [rest]
        elif not line.strip():
            names = []
        else:
            for name in names:
                found[name].append(line.strip())
    return {name: " ".join(lines) for name, lines in found.items()}


def _is_name(word: str) -> bool:
    return word.isidentifier() and word.islower()


SUBSCRIPTIONS = _table(
    Key("markets", "numbers", "[]", "market ids to subscribe to after each login"),
    Key("events", "numbers", "[]", "event ids to subscribe to"),
    Key("price_feed", "flag", "false", "the contract quotes of every market"),
    Key("market_feed", "flag", "false", "the states of every market"),
)

#: What an account has whether it stands in ``[defaults]`` or in ``[accounts.NAME]``.
DEFAULTS = _table(
    Key("host", "host", DEFAULT_HOST, "the exchange; without it the vendor's live one"),
    Key("port", "port", str(DEFAULT_PORT), "its port"),
    Key("ssl", "flag", "true", "TLS, verified; false sends everything, the password too, in the clear"),
    Key("ca_file", "file", "the system's", "PEM file of the authorities to trust, and no others"),
    Key("cert_file", "file", "none", "PEM file of our own certificate, for an exchange that asks for one"),
    Key(
        "key_file",
        "secret file",
        "in cert_file",
        "PEM file of its key, which nobody else may be able to read",
    ),
    Key("tcp_nodelay", "flag", "true", "send small frames at once"),
    Key(
        "cancel_on_failure",
        "flag",
        "false",
        "ask the exchange to cancel the account's orders when it loses us",
    ),
    Key("subscriptions", "table", "none", "what to subscribe to after each login"),
)

ACCOUNT = {
    **_table(
        Key("username", "text", "none", "who logs in, with a password"),
        Key("password", "secret", "none", 'the password: `{ env = "NAME" }`, `{ file = "path" }` or a text'),
        Key("token", "secret", "none", "a session token instead of user name and password"),
    ),
    **DEFAULTS,
    **_table(
        Key("reconnect", "table", "the pool's", "keys of `[reconnect]` that differ for this account"),
        Key("timeouts", "table", "the pool's", "keys of `[timeouts]` that differ for this account"),
    ),
}

POOL = _table(
    Key("store", "text", '"memory"', "where positions are kept; memory forgets them when the process ends"),
)

TOP = _table(
    Key("pool", "table", "none", "of the pool as a whole"),
    Key("reconnect", "table", "none", "whether and when to connect again"),
    Key("timeouts", "table", "none", "how long each wait may be"),
    Key("defaults", "table", "none", "settings of every account that does not say otherwise"),
    Key("accounts", "table", "none", "the accounts, `[accounts.NAME]` each"),
)

POLICIES = {policy: policy_keys(policy) for policy in (Backoff, ReconnectPolicy, TimeoutPolicy)}

#: Every table of a file, by the heading of its section in the reference.
TABLES: Mapping[str, Mapping[str, Key]] = {
    "[pool]": POOL,
    "[defaults]": DEFAULTS,
    "[accounts.NAME]": ACCOUNT,
    "[defaults.subscriptions], [accounts.NAME.subscriptions]": SUBSCRIPTIONS,
    "[reconnect], [accounts.NAME.reconnect]": POLICIES[ReconnectPolicy],
    "[reconnect.backoff], [accounts.NAME.reconnect.backoff]": POLICIES[Backoff],
    "[timeouts], [accounts.NAME.timeouts]": POLICIES[TimeoutPolicy],
}
