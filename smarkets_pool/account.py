"""``Account``: who a member is, and what is special about it."""

from __future__ import annotations

import difflib
import hashlib
import inspect
import ssl
from typing import Any

from smarkets_pool.exceptions import ConfigError
from smarkets_pool.policies import ReconnectPolicy, TimeoutPolicy
from smarkets_pool.session.settings import Secret, SessionSettings

__all__ = ["Account", "Customer"]

#: Host, port and user name.
Customer = tuple[str, int, str | None]

#: The settings of a session that can be given one by one: all there are.
_SINGLE = inspect.signature(SessionSettings).parameters


def _settings(name: str, settings: SessionSettings | None, single: dict[str, Any]) -> SessionSettings:
    """The settings of an account: given as they are, or one by one."""
    if not isinstance(name, str) or not name:
        raise ConfigError(f"an account's name is a non-empty text, not {name!r}")
    unknown = sorted(single.keys() - _SINGLE.keys())
    if unknown:
        near = difflib.get_close_matches(unknown[0], _SINGLE, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ConfigError(f"account {name!r}: there is no setting {unknown[0]!r}{hint}")
    given = sorted(key for key, value in single.items() if value is not None)
    if settings is None:
        return SessionSettings(**{key: single[key] for key in given})
    if given:
        raise ConfigError(f"account {name!r} has settings=, so {', '.join(given)} must go into them")
    return settings


class Account:
    """One account of a pool.

    Args:
        name: our name for it, unique in the pool; it is on every delivery and in every log line.
        username: who logs in with a password.
        password: the password, or a function that gives it, asked at each login.
        token: a session token instead, or a function that gives it.
        reconnect, timeouts: policies of this account instead of the pool's.
        cancel_on_failure: ask the exchange after each login to cancel this account's orders when it
            loses us (``settings.cancel_all_on_failure``).
        settings: ready ``SessionSettings`` instead of the arguments above and below.
        host, port: the exchange; without them the vendor's live one, stream.smarkets.com:3801.
        ssl_context, ca_file, session_settings: as in ``SessionSettings``; ``socket_timeout`` has no
            effect in a pool, whose ``TimeoutPolicy`` counts.

    Raises:
        ConfigError: an unknown setting, or both ``settings`` and single ones.
    """

    def __init__(
        self,
        name: str,
        *,
        username: str | None = None,
        password: Secret | None = None,
        token: Secret | None = None,
        reconnect: ReconnectPolicy | None = None,
        timeouts: TimeoutPolicy | None = None,
        cancel_on_failure: bool = False,
        settings: SessionSettings | None = None,
        host: str | None = None,
        port: int | None = None,
        ssl_context: ssl.SSLContext | None = None,
        ca_file: str | None = None,
        **session_settings: Any,
    ) -> None:
        single = {
            "username": username,
            "password": password,
            "token": token,
            "host": host,
            "port": port,
            "ssl_context": ssl_context,
            "ca_file": ca_file,
            **session_settings,
        }
        del password, token
        try:
            settings = _settings(name, settings, single)
        finally:
            # Some show the local variables of where an error passed.
            single.clear()
            session_settings.clear()
        self.name = name
        self.settings = settings
        self.reconnect = reconnect
        self.timeouts = timeouts
        self.cancel_on_failure = cancel_on_failure

    def __repr__(self) -> str:
        return f"<Account {self.name!r}: {self.settings!r}>"

    @property
    def login_key(self) -> tuple[object, ...]:
        """Equal for accounts that would log in as the same customer of the same exchange, as far as one
        can see; it does not hold the token.
        """
        settings = self.settings
        who: object = settings.username
        if who is None:
            token = settings.token
            data = token.encode(errors="surrogatepass") if isinstance(token, str) else token
            who = hashlib.blake2b(data).digest() if isinstance(data, bytes) else data
        if getattr(who, "__hash__", None) is None:
            who = id(who)  # a callable object that is equal to nothing but itself
        return settings.host, settings.port, settings.username is None, who

    @property
    def customer(self) -> Customer:
        """Whose account this is, as far as one can see: host, port, and user name if there is one."""
        return self.settings.host, self.settings.port, self.settings.username

    def is_customer(self, other: Customer) -> bool:
        """Whether a position of that customer may go on here; a token may have been of the same one."""
        *place, username = self.customer
        *other_place, other_username = other
        return place == other_place and (username == other_username or None in (username, other_username))

    def check(self) -> None:
        """Refuse what cannot work.

        Raises:
            ConfigError: naming the account and the setting.
        """
        try:
            self.settings.check()
        except ConfigError as error:
            raise ConfigError(f"account {self.name!r}: {error}", setting=error.setting) from error
