"""TLS: contexts verified and shared, sessions resumed, and what a certificate's failure means.

One context serves all sessions with the same trust: making one costs 21 ms, a handshake half of one.
``ssl`` is used through its module so that gevent's monkey-patching, whenever it ran, is what we get.
"""

from __future__ import annotations

import os
import socket
import ssl
import weakref
from typing import Any

from smarkets_pool.exceptions import (
    CertificateExpired,
    CertificateNotYetValid,
    CertificateSelfSigned,
    CertificateUntrusted,
    CertificateWrongName,
    ClientCertificateRefused,
    ConfigError,
    TlsError,
)
from smarkets_pool.logs import PlaceLog
from smarkets_pool.session.settings import SessionSettings

__all__ = ["certificate_error", "context_for", "known_session", "remember_session"]

_log = PlaceLog("session.tls")

# --- contexts --------------------------------------------------------------------------------------

_KNOWN = frozenset({"cert_reqs", "ca_certs", "ciphers", "certfile", "keyfile"})
#: The vendor's name for a file -> ours.
_FILES = {"ca_certs": "ca_file", "certfile": "cert_file", "keyfile": "key_file"}

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
    said = {theirs: theirs for theirs in kwargs}
    for theirs, ours in _FILES.items():
        if getattr(settings, ours) is not None:
            kwargs[theirs], said[theirs] = getattr(settings, ours), ours
    prints = sorted((name, _fingerprint(name, value, said[name])) for name, value in kwargs.items())
    key = (ssl.SSLContext, *prints)
    context = _contexts.get(key)
    if context is None:
        context = _contexts[key] = _make(kwargs, said)
    return context


def _fingerprint(name: str, value: Any, said: str) -> str:
    """Changes when the value does, and for a file when its content may have."""
    if name in _FILES and value is not None:
        try:
            status = os.stat(value)
        except OSError as error:
            raise ConfigError(f"{said} {str(value)!r} cannot be read: {error.strerror}") from error
        return f"{value!r} {status.st_mtime_ns} {status.st_size}"
    return repr(value)


def _make(kwargs: dict[str, Any], said: dict[str, str]) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=kwargs.get("ca_certs"))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if kwargs.get("cert_reqs", ssl.CERT_REQUIRED) == ssl.CERT_NONE:
            _log.warning(None, "certificates are not checked: cert_reqs=CERT_NONE was asked for by name")
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if kwargs.get("ciphers"):
            context.set_ciphers(kwargs["ciphers"])
        if kwargs.get("certfile"):
            context.load_cert_chain(kwargs["certfile"], kwargs.get("keyfile"), password=_no_passphrase)
    except (ssl.SSLError, OSError) as error:
        files = ", ".join(f"{said[name]} {str(kwargs[name])!r}" for name in _FILES if kwargs.get(name))
        raise ConfigError(f"no TLS context can be made of {files or sorted(kwargs)}: {error}") from error
    return context


def _no_passphrase() -> str:
    # Without this OpenSSL would ask at the terminal, and the whole process would wait for the answer.
    raise ConfigError(
        "the key of the client certificate is encrypted: decrypt it into a file that only you can read, "
        "or pass an ssl_context that has loaded it"
    )


# --- resumption ------------------------------------------------------------------------------------

#: Context -> (host, port) -> the TLS session of its latest connection there. A session is only good for
#: the context that made it, so what was verified, and who we said we are, stays with it.
_sessions: weakref.WeakKeyDictionary[ssl.SSLContext, dict[tuple[str, int], ssl.SSLSession]] = (
    weakref.WeakKeyDictionary()
)


def known_session(context: ssl.SSLContext, settings: SessionSettings) -> ssl.SSLSession | None:
    """The session to offer: the exchange may then skip the certificate, and half of the work."""
    return _sessions.get(context, {}).get((settings.host, settings.port))


def remember_session(connection: socket.socket, settings: SessionSettings) -> None:
    """Keep a connection's session for the next; call it when bytes have been read.

    With TLS 1.3 the ticket comes behind the handshake and is taken in by the first read.
    """
    if not isinstance(connection, ssl.SSLSocket):
        return
    session = connection.session
    if session is not None and session.has_ticket:
        _sessions.setdefault(connection.context, {})[(settings.host, settings.port)] = session


# --- what a failure means --------------------------------------------------------------------------

#: OpenSSL's verification code -> the error and what to do.
_VERIFY: dict[int, tuple[type[TlsError], str]] = {
    9: (CertificateNotYetValid, "look at this machine's clock first, then ask the exchange for a new one"),
    10: (CertificateExpired, "the exchange has to renew it; look at this machine's clock first"),
    18: (CertificateSelfSigned, "if you know it to be right, name the certificate itself with ca_file"),
    19: (CertificateUntrusted, "to trust a CA of your own, name its certificate with ca_file"),
    20: (CertificateUntrusted, "to trust a CA of your own, name its certificate with ca_file"),
    21: (CertificateUntrusted, "to trust a CA of your own, name its certificate with ca_file"),
    62: (CertificateWrongName, "check host: it must be a name that the certificate is for"),
    64: (CertificateWrongName, "check host: it must be an address that the certificate is for"),
}
#: Alerts with which the exchange refuses our certificate, or its absence.
_REFUSED = (
    "CERTIFICATE_REQUIRED",
    "ALERT_BAD_CERTIFICATE",
    "ALERT_UNSUPPORTED_CERTIFICATE",
    "ALERT_CERTIFICATE_REVOKED",
    "ALERT_CERTIFICATE_EXPIRED",
    "ALERT_CERTIFICATE_UNKNOWN",
    "ALERT_UNKNOWN_CA",
    "ALERT_ACCESS_DENIED",
)


def certificate_error(error: OSError, settings: SessionSettings) -> TlsError | None:
    """What an error says about certificates, as one of ours; None if it is about something else."""
    where = f"{settings.host}:{settings.port}"
    if isinstance(error, ssl.SSLCertVerificationError):
        kind, advice = _VERIFY.get(
            error.verify_code, (TlsError, "to trust a CA of your own, name its certificate with ca_file")
        )
        return kind(f"{where} could not prove that it is {settings.host!r}: {error.verify_message}; {advice}")
    reason = getattr(error, "reason", None)
    if isinstance(error, ssl.SSLError) and reason and any(alert in reason for alert in _REFUSED):
        shown = settings.cert_file or settings.ssl_kwargs.get("certfile")
        ours = f"our certificate {str(shown)!r}" if shown else "us without a certificate: give cert_file"
        return ClientCertificateRefused(f"{where} refused {ours}: {reason.lower().replace('_', ' ')}")
    return None
