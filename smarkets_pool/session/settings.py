"""Where to connect and who we are."""

from __future__ import annotations

import ssl as _ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from smarkets_pool.exceptions import ConfigError, Error
from smarkets_pool.wire.schema import seto_pb2 as seto

__all__ = ["Secret", "SessionSettings", "SettingProblem"]

#: A secret, or something that gives it: asked at each login, so that a rotated one is picked up.
Secret = str | bytes | Callable[[], str | bytes]

DEFAULT_HOST = "stream.smarkets.com"
DEFAULT_PORT = 3801

#: Bytes of the longest secret that is taken for one; longer, it is something else by mistake.
_LONGEST_SECRET = 1 << 16

#: Settings that only TLS has a use for.
_TLS = ("ssl_context", "ssl_kwargs", "ca_file", "cert_file", "key_file")


class SettingProblem(NamedTuple):
    """Why settings cannot work: the one to look at, None if that could be one of several, and a sentence."""

    setting: str | None
    sentence: str


class _Hidden:
    """Holds a secret where an object's attributes may be shown: by ``vars``, a debugger, an error report.

    A copy of the object has the same one. Pickled, a secret would be anybody's who reads the bytes: only one
    that is a function can be.
    """

    __slots__ = ("value",)

    def __init__(self, value: Secret | None) -> None:
        self.value = value

    def __repr__(self) -> str:
        return "None" if self.value is None else "<not shown>"

    def __deepcopy__(self, memo: object) -> _Hidden:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        if self.value is None or callable(self.value):
            return _Hidden, (self.value,)
        raise TypeError("a password or token is not pickled: give it as a function that knows where it is")


class SessionSettings:
    """What one session needs to know; plain attributes, as in the vendor's SDK.

    Args:
        username: who logs in with a password.
        password: the password, or a function that gives it, asked at each login.
        token: a session token of the website or HTTP API instead; it wins over the other two.
        host, port: the exchange; by default the vendor's live one.
        ssl: TLS from the first byte, with the peer's certificate and name checked.
        socket_timeout: seconds that one blocking read or write of ``Session`` may wait.
        ssl_kwargs: the vendor's way to tune TLS: ``cert_reqs``, ``ca_certs``, ``ciphers``,
            ``certfile``, ``keyfile``. ``cert_reqs=ssl.CERT_NONE`` switches the checks off, by name.
        tcp_nodelay: send small frames at once.
        ssl_context: a ready context; then no other of the TLS settings may be given.
        ca_file: trust the certificates in this PEM file, and no others.
        cert_file, key_file: our own certificate and its key, PEM files, for an exchange that asks who we
            are; without key_file the key is in cert_file. The key must not be encrypted.

    The secrets are in no ``repr`` and not in ``vars()``.
    """

    def __init__(
        self,
        username: str | None = None,
        password: Secret | None = None,
        token: Secret | None = None,
        host: str = DEFAULT_HOST,
        port: int = DEFAULT_PORT,
        ssl: bool = True,
        socket_timeout: float = 30,
        ssl_kwargs: Mapping[str, Any] | None = None,
        tcp_nodelay: bool = True,
        *,
        ssl_context: _ssl.SSLContext | None = None,
        ca_file: str | None = None,
        cert_file: str | None = None,
        key_file: str | None = None,
    ) -> None:
        self.username = username
        self._password = _Hidden(password)
        self._token = _Hidden(token)
        self.host = host
        self.port = port
        self.ssl = ssl
        self.socket_timeout = socket_timeout
        self.ssl_kwargs: dict[str, Any] = dict(ssl_kwargs) if ssl_kwargs else {}
        self.tcp_nodelay = tcp_nodelay
        self.ssl_context = ssl_context
        self.ca_file = ca_file
        self.cert_file = cert_file
        self.key_file = key_file
        #: Our name for the account, for log lines; a pool sets it.
        self.account: str | None = None
        #: Bytes asked for in one read.
        self.read_chunksize = 65536

    def __repr__(self) -> str:
        scheme = "tls" if self.ssl else "tcp"
        return f"<SessionSettings {self.login_name!r} at {scheme}://{self.host}:{self.port}>"

    @property
    def password(self) -> Secret | None:
        """The password, or the function that gives it."""
        return self._password.value

    @password.setter
    def password(self, password: Secret | None) -> None:
        self._password = _Hidden(password)

    @property
    def token(self) -> Secret | None:
        """The token, or the function that gives it."""
        return self._token.value

    @token.setter
    def token(self, token: Secret | None) -> None:
        self._token = _Hidden(token)

    @property
    def login_name(self) -> str:
        """Who logs in, fit for logs: the user name, or that it is by token."""
        return self.username if self.username is not None else "(by token)"

    @property
    def log_name(self) -> str:
        """Whom log lines are about: our name for the account, or who logs in."""
        return self.account if self.account is not None else self.login_name

    def as_arguments(self) -> dict[str, Any]:
        """What would make these settings again; it holds the secrets."""
        return {
            "username": self.username,
            "password": self.password,
            "token": self.token,
            "host": self.host,
            "port": self.port,
            "ssl": self.ssl,
            "socket_timeout": self.socket_timeout,
            "ssl_kwargs": self.ssl_kwargs or None,
            "tcp_nodelay": self.tcp_nodelay,
            "ssl_context": self.ssl_context,
            "ca_file": self.ca_file,
            "cert_file": self.cert_file,
            "key_file": self.key_file,
        }

    def check(self) -> None:
        """Refuse settings that cannot work.

        Raises:
            ConfigError: naming the setting, what was found and what to do.
        """
        for setting, sentence in self.problems():
            raise ConfigError(sentence, setting=setting)

    def problems(self) -> Iterator[SettingProblem]:
        """Everything that cannot work."""
        yield from self._credential_problems()
        if not isinstance(self.host, str) or not self.host:
            yield SettingProblem("host", f"host is the exchange's name or address, not {self.host!r}")
        if not isinstance(self.port, int) or isinstance(self.port, bool) or not 0 < self.port < 65536:
            yield SettingProblem("port", f"port is a number from 1 to 65535, not {self.port!r}")
        if (
            not isinstance(self.socket_timeout, (int, float))
            or not 0 < self.socket_timeout <= threading.TIMEOUT_MAX
        ):
            said = f"socket_timeout is a length in seconds above 0 that ends, not {self.socket_timeout!r}"
            yield SettingProblem("socket_timeout", said)
        yield from self._tls_problems()

    def _credential_problems(self) -> Iterator[SettingProblem]:
        if self.token is None:
            if not self.username:
                yield SettingProblem(None, "no credentials: give username and password, or token")
            elif not callable(self.password) and not self.password:
                yield SettingProblem("password", f"no password for {self.username!r}: give one, or token")
        elif not callable(self.token) and not self.token:
            yield SettingProblem("token", "the token is empty: give one, or username and password")

    def _tls_problems(self) -> Iterator[SettingProblem]:
        given = [name for name in _TLS if getattr(self, name)]
        if given and not self.ssl:
            said = (
                f"ssl=False sends everything in the clear, and only TLS has a use for {', '.join(given)}: "
                "leave the one or the other out"
            )
            yield SettingProblem(given[-1], said)
        if self.ssl_context is not None and len(given) > 1:
            others = ", ".join(name for name in given if name != "ssl_context")
            yield SettingProblem("ssl_context", f"ssl_context is used as it is: put {others} into it instead")
        for ours, theirs in (("ca_file", "ca_certs"), ("cert_file", "certfile"), ("key_file", "keyfile")):
            if getattr(self, ours) is not None and self.ssl_kwargs.get(theirs) is not None:
                yield SettingProblem(ours, f"both {ours} and ssl_kwargs[{theirs!r}] are given: give one")
        if self.key_file is not None and self.cert_file is None:
            yield SettingProblem("key_file", "key_file is the key of a certificate: give cert_file too")
        if self.ssl_kwargs.get("keyfile") and not (self.cert_file or self.ssl_kwargs.get("certfile")):
            said = "ssl_kwargs['keyfile'] is the key of a certificate: give certfile too"
            yield SettingProblem("ssl_kwargs", said)

    def login_message(self) -> seto.Login:
        """The login without a position; secrets that are callables are asked now.

        Raises:
            ConfigError: no credentials, or a callable gave none.
        """
        self.check()
        made = _login(self)
        if isinstance(made, str):
            # Raised here, where no local variable is the secret: some show tracebacks with those.
            raise ConfigError(made)
        return made


def _login(settings: SessionSettings) -> seto.Login | str:
    """The login, or a sentence that says why there is none; it never quotes the secret."""
    what = "password" if settings.token is None else "token"
    secret = settings.password if settings.token is None else settings.token
    try:
        value = secret() if callable(secret) else secret
    except ConfigError as error:
        # One of ours says what is wrong with a secret's place, and never the secret.
        raise Error(f"the {what} cannot be had: {error}") from error
    except Exception as error:
        # Only its kind: whoever keeps secrets may quote one in an error.
        raise Error(f"the {what} function raised {type(error).__name__}") from error
    if not isinstance(value, (str, bytes)) or not value:
        return f"the {what} is to be a non-empty text or bytes, and a {type(value).__name__} came"
    try:
        data = value.encode() if isinstance(value, str) else value
        if len(data) > _LONGEST_SECRET:
            return f"the {what} has {len(data)} bytes, and the longest that is sent has {_LONGEST_SECRET}"
        if what == "token":
            return seto.Login(cookie=data)
        return seto.Login(username=settings.username, password=data.decode())
    except UnicodeError:
        return f"the {what} is no UTF-8 text"
