"""TLS contexts: verified, shared, and the vendor's ``ssl_kwargs`` translated.

One context serves all sessions with the same trust: making one costs 21 ms, a handshake half of one.
``ssl`` is used through its module so that gevent's monkey-patching, whenever it ran, is what we get.
"""

from __future__ import annotations

import logging
import os
import ssl
from typing import Any

from smarkets_pool.exceptions import ConfigError
from smarkets_pool.session.settings import SessionSettings

__all__ = ["context_for"]

_logger = logging.getLogger("smarkets_pool.session.tls")

_KNOWN = frozenset({"cert_reqs", "ca_certs", "ciphers", "certfile", "keyfile"})
_FILES = ("ca_certs", "certfile", "keyfile")

_contexts: dict[tuple[Any, ...], ssl.SSLContext] = {}


def context_for(settings: SessionSettings) -> ssl.SSLContext:
    """The context for these settings: the given one, or a shared one with the same trust.

    Raises:
        ConfigError: an unknown ``ssl_kwargs`` key, or a file that cannot be used.
    """
    if settings.ssl_context is not None:
        return settings.ssl_context
    kwargs = dict(settings.ssl_kwargs)
    unknown = sorted(kwargs.keys() - _KNOWN)
    if unknown:
        raise ConfigError(
            f"ssl_kwargs has {', '.join(unknown)}; known are {', '.join(sorted(_KNOWN))}; "
            "for anything else pass ssl_context="
        )
    if settings.ca_file is not None:
        kwargs.setdefault("ca_certs", settings.ca_file)
    key = (ssl.SSLContext, *sorted((name, _fingerprint(name, value)) for name, value in kwargs.items()))
    context = _contexts.get(key)
    if context is None:
        context = _contexts[key] = _make(kwargs)
    return context


def _fingerprint(name: str, value: Any) -> str:
    """Changes when the value does, and for a file when its content may have."""
    if name in _FILES and value is not None:
        try:
            status = os.stat(value)
        except OSError as error:
            said = "ca_file" if name == "ca_certs" else name
            raise ConfigError(f"{said} {str(value)!r} cannot be read: {error.strerror}") from error
        return f"{value!r} {status.st_mtime_ns} {status.st_size}"
    return repr(value)


def _make(kwargs: dict[str, Any]) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=kwargs.get("ca_certs"))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if kwargs.get("cert_reqs", ssl.CERT_REQUIRED) == ssl.CERT_NONE:
            _logger.warning("certificates are not checked: cert_reqs=CERT_NONE was asked for by name")
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if kwargs.get("ciphers"):
            context.set_ciphers(kwargs["ciphers"])
        if kwargs.get("certfile"):
            context.load_cert_chain(kwargs["certfile"], kwargs.get("keyfile"))
    except (ssl.SSLError, OSError) as error:
        files = ", ".join(f"{name} {str(kwargs[name])!r}" for name in _FILES if kwargs.get(name))
        raise ConfigError(f"no TLS context can be made of {files or sorted(kwargs)}: {error}") from error
    return context
