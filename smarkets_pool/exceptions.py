"""Every error of this package, in one tree.

Split by whose fault it is and whether trying again can help::

    Error
      UsageError (ValueError)             the caller's mistake: fix the program or its settings
        InvalidCallbackError              a handler that could never be called
        InvalidUrlError                   an address that cannot be read
        ConfigError                       settings that contradict each other or name unknown things
        NotPatchedError                   the process is not monkey-patched (or was, too late)
        ConcurrentUseError                two greenlets used what belongs to one
      ConnectionError (ConnectionError)   the network's fault: a new connection may help
        SocketDisconnected                the peer closed
        ConnectTimeout                    resolve, connect and handshake took too long
        ReceiveTimeout                    nothing arrived in time
        SendTimeout                       the peer stopped reading
        HeartbeatTimeout                  the peer fell silent
        TlsError                          who is at the other end could not be proven: final
          CertificateExpired              its certificate's time is over
          CertificateNotYetValid          its certificate's time has not begun
          CertificateWrongName            a good certificate, of somebody else
          CertificateUntrusted            issued by nobody we trust
          CertificateSelfSigned           issued by nobody but itself
          ClientCertificateRefused        the exchange does not accept who *we* say we are
      ProtocolError                       the peer broke the rules of the wire
        DecodeError                       bytes that are no frame
          FrameTooLarge                   a frame over the size limit
        ParseError                        a frame that is no payload
        SequenceGapError                  numbers are missing and were not filled in time
      LoginError                          the exchange said no (``reason``, ``reason_msg``)
        LoggedOut                         it said yes, and later ended the session
      LoginTimeout                        the exchange said nothing
      RequestError                        the exchange refused one request
        OrderRejected, OrderInvalid, OrderCancelRejected, OrderReduceRejected, OrderReplaceRejected
        RequestTimeout, OutcomeUnknown, ThrottleExceeded
      MemberDown                          the account has no session that could carry this
      SendBufferFull                      too many bytes wait for the peer already
      PoolError                           some accounts of a pool are not where they should be
      StoreError                          positions could not be read or written
      OwnershipLost                       another process owns this account now
      DownloadError                       kept for programs written for the vendor's SDK

An error keeps its figures as attributes, builds its own sentence from them and is raised ``from``
its cause. A sentence starts in lower case and has no final stop, so that it can stand in another.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = [
    "CertificateExpired",
    "CertificateNotYetValid",
    "CertificateSelfSigned",
    "CertificateUntrusted",
    "CertificateWrongName",
    "ClientCertificateRefused",
    "ConcurrentUseError",
    "ConfigError",
    "ConnectTimeout",
    "ConnectionError",
    "DecodeError",
    "DownloadError",
    "Error",
    "FrameTooLarge",
    "HeartbeatTimeout",
    "InvalidCallbackError",
    "InvalidUrlError",
    "LoggedOut",
    "LoginError",
    "LoginTimeout",
    "MemberDown",
    "NotPatchedError",
    "OrderCancelRejected",
    "OrderInvalid",
    "OrderReduceRejected",
    "OrderRejected",
    "OrderReplaceRejected",
    "OutcomeUnknown",
    "OwnershipLost",
    "ParseError",
    "PoolError",
    "ProtocolError",
    "ReceiveTimeout",
    "RequestError",
    "RequestTimeout",
    "SendBufferFull",
    "SendTimeout",
    "SequenceGapError",
    "SocketDisconnected",
    "StoreError",
    "ThrottleExceeded",
    "TlsError",
    "UsageError",
]


class Error(Exception):
    """The root: ``except Error`` catches whatever this package raises on purpose."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Copied and pickled as it is. The default would build the sentence again, from the sentence.
        return _same_again, (type(self), self.args), self.__dict__


def _same_again(kind: type[Error], args: tuple[object, ...]) -> Error:
    error = kind.__new__(kind, *args)
    error.args = args
    return error


# --- the caller's mistakes ---------------------------------------------------------------------


class UsageError(Error, ValueError):
    """The program asked for something that cannot be done; trying again cannot help."""


class InvalidCallbackError(UsageError):
    """One or more handlers that could never be called as registered.

    ``problems`` holds one sentence per handler; a registration raises with one, ``Pool.start``
    with all of them.
    """

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems: tuple[str, ...] = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__(_listed(self.problems, "handlers cannot be used"))


class InvalidUrlError(UsageError):
    """An address that cannot be read."""


class ConfigError(UsageError):
    """Settings that contradict each other, are out of range or name unknown things.

    ``problems`` holds one sentence per problem: a configuration file is reported with all of its own.
    ``setting`` names the one of ``SessionSettings`` that it is about, or is None.
    """

    def __init__(self, problems: str | Iterable[str], *, setting: str | None = None) -> None:
        self.problems: tuple[str, ...] = (problems,) if isinstance(problems, str) else tuple(problems)
        self.setting = setting
        super().__init__(_listed(self.problems, "settings cannot be used"))


def _listed(problems: tuple[str, ...], what: str) -> str:
    if len(problems) == 1:
        return problems[0]
    return f"{len(problems)} {what}: " + "; ".join(problems)


class NotPatchedError(UsageError):
    """A pool needs gevent's sockets, and this process has the standard library's."""


class ConcurrentUseError(UsageError):
    """Two greenlets used an object that belongs to one of them."""


# --- the network's faults ----------------------------------------------------------------------


class ConnectionError(Error, builtins.ConnectionError):
    """The connection could not be made or broke."""


class SocketDisconnected(ConnectionError):
    """The peer closed the connection.

    ``unread`` is the number of bytes of an unfinished frame that were left, 0 if it closed between
    frames.
    """

    def __init__(self, message: str = "the peer closed the connection", *, unread: int = 0) -> None:
        self.unread = unread
        if unread:
            message += f" in the middle of a frame ({unread} bytes of it had arrived)"
        super().__init__(message)


class ConnectTimeout(ConnectionError):
    """Resolving, connecting and the TLS handshake together took longer than allowed."""


class ReceiveTimeout(ConnectionError):
    """Nothing arrived within the time allowed; the connection was closed."""


class SendTimeout(ConnectionError):
    """The peer took nothing off our hands for longer than allowed; the connection was closed."""


class HeartbeatTimeout(ConnectionError):
    """No whole frame arrived for ``silence`` seconds; the connection was closed."""

    def __init__(self, silence: float) -> None:
        self.silence = silence
        super().__init__(f"no frame arrived from the peer for {silence:.1f} s, so it was given up")


class TlsError(ConnectionError):
    """The peer could not prove who it is: trying again cannot help.

    The subclasses say how; each sentence says what to do.
    """


class CertificateExpired(TlsError):
    """The peer's certificate was valid once."""


class CertificateNotYetValid(TlsError):
    """The peer's certificate will be valid later, or our clock is wrong."""


class CertificateWrongName(TlsError):
    """The peer has a good certificate for another name than the one asked for."""


class CertificateUntrusted(TlsError):
    """The peer's certificate was issued by an authority that is not trusted here."""


class CertificateSelfSigned(TlsError):
    """The peer's certificate was issued by itself and is not trusted here."""


class ClientCertificateRefused(TlsError):
    """The exchange wants a certificate from us, or refused the one it got."""


# --- the peer's faults -------------------------------------------------------------------------


class ProtocolError(Error):
    """The peer did something the wire's rules do not allow."""


class DecodeError(ProtocolError):
    """Bytes that cannot be cut into frames; nothing after them can be read."""


class FrameTooLarge(DecodeError):
    """A frame over the size limit; ``size`` and ``limit`` in bytes of payload."""

    def __init__(self, size: int, limit: int) -> None:
        self.size = size
        self.limit = limit
        super().__init__(f"a frame of {size} payload bytes is over the limit of {limit} bytes")


class ParseError(ProtocolError):
    """A frame whose payload is not what the schema says."""


class SequenceGapError(ProtocolError):
    """Payloads ``first`` to ``last`` of a session are missing and were not sent again in time."""

    def __init__(self, first: int, last: int, waited: float | None = None) -> None:
        self.first = first
        self.last = last
        self.waited = waited
        text = f"payloads {first} to {last} are missing"
        if waited is not None:
            text += f" and the replay made no progress for {waited:.1f} s"
        super().__init__(text)


# --- login -------------------------------------------------------------------------------------


class LoginError(Error):
    """The exchange refused the login.

    ``reason`` is the number of the LogoutReason, ``reason_msg`` its name (``UNKNOWN(n)`` for one
    that is newer than this schema).
    """

    _what = "the exchange refused the login"

    def __init__(self, reason: int, reason_msg: str | None = None) -> None:
        self.reason = reason
        self.reason_msg = reason_msg if reason_msg is not None else f"UNKNOWN({reason})"
        text = f"{self._what}: {self.reason_msg} (reason {reason})"
        if self.reason_msg == "LOGOUT_UNAUTHORISED":
            text += "; check user name and password, or token"
        super().__init__(text)


class LoggedOut(LoginError):
    """The exchange ended a session that was logged in; ``reason`` as in ``LoginError``."""

    _what = "the exchange logged us out"


class LoginTimeout(Error):
    """The exchange neither accepted nor refused the login in time."""


# --- one request refused -----------------------------------------------------------------------


class RequestError(Error):
    """One request did not get what it asked for; the session is fine."""


class OrderRejected(RequestError):
    """``seto.order_rejected``: refused by account, market or book."""


class OrderInvalid(RequestError):
    """``seto.order_invalid``: refused before it reached the book."""


class OrderCancelRejected(RequestError):
    """``seto.order_cancel_rejected``."""


class OrderReduceRejected(RequestError):
    """``seto.order_quantity_reduce_rejected``."""


class OrderReplaceRejected(RequestError):
    """``seto.order_cancel_replace_rejected``: the old order is gone, the new one was refused."""


class RequestTimeout(RequestError):
    """No answer in time; what became of the request is known to be nothing yet."""


class OutcomeUnknown(RequestError):
    """The connection was lost before the answer: the request may or may not have been carried out."""


class ThrottleExceeded(RequestError):
    """The exchange's limit on our rate was reached."""


# --- the pool ----------------------------------------------------------------------------------


class MemberDown(Error):
    """The account ``account`` has no session that could carry this now; ``state`` says which it has."""

    def __init__(self, account: str, state: str, detail: str) -> None:
        self.account = account
        self.state = state
        self.detail = detail
        super().__init__(f"account {account!r} is {state}: {detail}")


class SendBufferFull(Error):
    """``waiting`` bytes wait for the peer already, the limit is ``limit``; nothing was numbered or sent."""

    def __init__(self, account: str, waiting: int, limit: int) -> None:
        self.account = account
        self.waiting = waiting
        self.limit = limit
        super().__init__(
            f"account {account!r}: {waiting} bytes wait to be sent and the limit is {limit}; "
            "the exchange is not reading, nothing was sent"
        )


class PoolError(Error):
    """Accounts that are not where the caller needs them; ``reasons`` maps each to why."""

    def __init__(self, what: str, reasons: Mapping[str, str]) -> None:
        self.reasons = dict(reasons)
        listed = "; ".join(f"{name}: {reason}" for name, reason in self.reasons.items())
        super().__init__(f"{what}: {listed}" if listed else what)


class StoreError(Error):
    """Positions could not be read or written."""


class OwnershipLost(Error):
    """Another process owns this account now."""


class DownloadError(Error):
    """Kept for programs that catch it; nothing here downloads anything."""
