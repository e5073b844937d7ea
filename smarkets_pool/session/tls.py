"""TLS: contexts verified and shared, sessions resumed, and what a certificate's failure means.

One context serves all sessions with the same trust: making one costs 21 ms, a handshake half of one.
``ssl`` is used through its module so that gevent's monkey-patching, whenever it ran, is what we get.
"""

from __future__ import annotations

import dataclasses
import os
import socket
import ssl
import time
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

__all__ = [
    "certificate_error",
    "context_for",
    "forget_session",
    "known_session",
    "made_before",
    "remember_session",
]

_log = PlaceLog("session.tls")

# --- contexts --------------------------------------------------------------------------------------

_KNOWN = frozenset({"cert_reqs", "ca_certs", "ciphers", "certfile", "keyfile"})
#: The vendor's name for a file -> ours.
_FILES = {"ca_certs": "ca_file", "certfile": "cert_file", "keyfile": "key_file"}

#: What was asked for -> the files as they were, and the context made of them. One context for each
#: asking: that of files which were replaced is forgotten.
_contexts: dict[tuple[Any, ...], tuple[list[str], ssl.SSLContext]] = {}


def context_for(settings: SessionSettings) -> ssl.SSLContext:
    """The context for these settings: the given one, or a shared one with the same trust.

    Raises:
        ConfigError: an unknown ``ssl_kwargs`` key, or a file that cannot be used.
    """
    if settings.ssl_context is not None:
        return settings.ssl_context
    key, kwargs, said = _asked(settings)
    prints = [_fingerprint(kwargs[name], said[name]) for name in _FILES if kwargs.get(name) is not None]
    made = _contexts.get(key)
    if made is None or made[0] != prints:
        made = _contexts[key] = (prints, _make(kwargs, said))
    return made[1]


def made_before(settings: SessionSettings) -> bool:
    """Whether there was a context for these settings once, so that their files were fine then."""
    return settings.ssl_context is None and _asked(settings)[0] in _contexts


def _asked(settings: SessionSettings) -> tuple[tuple[Any, ...], dict[str, Any], dict[str, str]]:
    """A key for what the settings ask for; the same by the vendor's names; what each was called here."""
    kwargs = dict(settings.ssl_kwargs)
    unknown = sorted(kwargs.keys() - _KNOWN)
    if unknown:
        raise ConfigError(
            f"ssl_kwargs has {', '.join(unknown)}; known are {', '.join(sorted(_KNOWN))}; "
            "for anything else pass ssl_context=",
            setting="ssl_kwargs",
        )
    said = {theirs: theirs for theirs in kwargs}
    for theirs, ours in _FILES.items():
        if getattr(settings, ours) is not None:
            kwargs[theirs], said[theirs] = getattr(settings, ours), ours
    return (ssl.SSLContext, *sorted((name, repr(value)) for name, value in kwargs.items())), kwargs, said


def _fingerprint(path: Any, said: str) -> str:
    """Changes when the file's content may have."""
    try:
        status = os.stat(path)
    except OSError as error:
        why = f"{said} {str(path)!r} cannot be read: {error.strerror}"
        raise ConfigError(why, setting=_setting(said)) from error
    # A copy may keep size and time of modification, but nobody can set the time of change.
    return f"{status.st_ino} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"


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
        names = [name for name in _FILES if kwargs.get(name)]
        files = ", ".join(f"{said[name]} {str(kwargs[name])!r}" for name in names)
        # Which of them it is OpenSSL seldom says; with several it is mostly our own key or certificate.
        raise ConfigError(
            f"no TLS context can be made of {files or sorted(kwargs)}: {error}",
            setting=_setting(said[names[-1]]) if names else None,
        ) from error
    return context


def _setting(said: str) -> str:
    """The setting that gave a file of that name."""
    return said if said in _FILES.values() else "ssl_kwargs"


def _no_passphrase() -> str:
    # Without this OpenSSL would ask at the terminal, and the whole process would wait for the answer.
    raise ConfigError(
        "the key of the client certificate is encrypted: decrypt it into a file that only you can read, "
        "or pass an ssl_context that has loaded it"
    )


# --- resumption ------------------------------------------------------------------------------------

#: The name under which a context carries the TLS session of its latest connection to each place. A session
#: is only good for the context that made it, so what was verified, and who we said we are, stays with it.
#: It refers to that context: kept anywhere else, it would keep the context for ever.
_SESSIONS = "_smarkets_pool_sessions"
#: Seconds between two that are taken from connections to one place; one serves any number of connections.
#: CPython before 3.12.8 and 3.13.1 loses some 6 KB each time (its issue 116810), and a peer that never
#: resumes, or never gets as far as a ticket, must not make that a leak.
_TAKE_EVERY = 60.0


@dataclasses.dataclass(slots=True)
class _Kept:
    """The session of the latest connection from which one was taken, unless it failed since."""

    session: ssl.SSLSession | None
    taken: float


def _place(context: ssl.SSLContext, settings: SessionSettings) -> tuple[object, ...]:
    # A context that somebody gave us may be made stricter later, and resuming checks no certificate.
    strictness = (context.verify_mode, context.check_hostname, context.verify_flags)
    return (settings.host, settings.port, *strictness)


def known_session(context: ssl.SSLContext, settings: SessionSettings) -> ssl.SSLSession | None:
    """The session to offer: the exchange may then skip the certificate, and half of the work."""
    kept = _kept(context, settings)
    return kept.session if kept is not None else None


def forget_session(
    context: ssl.SSLContext, settings: SessionSettings, offered: ssl.SSLSession | None
) -> None:
    """Do not offer this one again: a peer that stumbles over it would do so at every attempt."""
    kept = _kept(context, settings)
    if kept is not None and kept.session is offered:  # another account may have left a newer one meanwhile
        kept.session = None


def remember_session(connection: socket.socket, settings: SessionSettings) -> None:
    """Keep a connection's session for the next; call it when bytes have been read.

    With TLS 1.3 the ticket comes behind the handshake and is taken in by the first read.
    """
    if not isinstance(connection, ssl.SSLSocket) or connection.session_reused:
        return
    context, now = connection.context, time.monotonic()
    kept = _kept(context, settings)
    if kept is not None and now - kept.taken < _TAKE_EVERY:
        return
    session = connection.session
    if session is not None and not session.has_ticket:
        session = None
    vars(context).setdefault(_SESSIONS, {})[_place(context, settings)] = _Kept(session, now)


def _kept(context: ssl.SSLContext, settings: SessionSettings) -> _Kept | None:
    found: _Kept | None = vars(context).get(_SESSIONS, {}).get(_place(context, settings))
    return found


# --- what a failure means --------------------------------------------------------------------------

#: OpenSSL's verification code -> the error and what to do.
_VERIFY: dict[int, tuple[type[TlsError], str]] = {
    9: (CertificateNotYetValid, "look at this machine's clock first, then ask the exchange for a new one"),
    10: (CertificateExpired, "the exchange has to renew it; look at this machine's clock first"),
    18: (CertificateSelfSigned, "if you know it to be right, name the certificate itself with ca_file"),
    **dict.fromkeys(
        (2, 19, 20, 21),
        (
            CertificateUntrusted,
            "to trust a CA of your own, name its certificate with ca_file; if it is named there, the "
            "exchange does not send all that lies between",
        ),
    ),
    62: (CertificateWrongName, "check host: it must be a name that the certificate is for"),
    64: (CertificateWrongName, "check host: it must be an address that the certificate is for"),
}
#: Any other: a certificate whose kind, key or form is not good enough.
_UNFIT = (TlsError, "the exchange has to replace it, or an ssl_context of your own to allow it")
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
#: The same where none was shown: all that TLS 1.2 has to say about it.
_MISSED = "ALERT_HANDSHAKE_FAILURE"


def certificate_error(error: OSError, settings: SessionSettings, *, asked_us: bool = True) -> TlsError | None:
    """What an error says about certificates, as one of ours; None if it is about something else.

    Args:
        asked_us: whether the exchange can have been told who we are, or refused to be told nothing. An
            alert before that is about something else, and anybody on the way could have sent it.
    """
    where = f"{settings.host}:{settings.port}"
    if isinstance(error, ssl.SSLCertVerificationError):
        kind, advice = _VERIFY.get(error.verify_code, _UNFIT)
        found = error.verify_message.rstrip(".")
        return kind(f"{where} could not prove that it is {settings.host!r}: {found}; {advice}")
    reason = getattr(error, "reason", None)
    if not asked_us or not isinstance(error, ssl.SSLError) or not reason:
        return None
    shown = settings.cert_file or settings.ssl_kwargs.get("certfile")
    if shown:
        ours = f"our certificate {str(shown)!r}"
    elif settings.ssl_context is not None:
        ours = "what our ssl_context says of who we are: load the right certificate into it"
    else:
        ours = "us without a certificate: give cert_file"
    if any(alert in reason for alert in (_REFUSED if shown else (*_REFUSED, _MISSED))):
        return ClientCertificateRefused(f"{where} refused {ours}: {reason.lower().replace('_', ' ')}")
    return None
