"""A throw-away CA and certificates for loopback, good and bad ones, made anew for each run."""

from __future__ import annotations

import datetime
import os
import pathlib
import shutil
import tempfile

import gevent.ssl
import trustme

from smarkets_pool.exceptions import ConfigError

__all__ = ["Certificates"]


_ORGANISATION = "smarkets_pool embedded exchange"
_ELSEWHERE = "elsewhere.example"
_DAY = datetime.timedelta(days=1)
_MONTHS = datetime.timedelta(days=90)


class Certificates:
    """A CA of our own, in memory but for its public certificate.

    ``ca_file`` is the PEM file that clients are to trust; ``close`` removes it.

    Args:
        authority: the CA to go on with, as ``new_authority`` made it; a new one without it.
        ca_file: where to put its certificate, to stay there; a folder of our own without it.

    Raises:
        ConfigError: ``ca_file`` cannot be written.
    """

    def __init__(
        self,
        *names: str,
        authority: tuple[bytes, bytes] | None = None,
        ca_file: str | os.PathLike[str] | None = None,
    ) -> None:
        self._names = names or ("localhost", "127.0.0.1", "::1")
        self._authority = _new_ca() if authority is None else trustme.CA.from_pem(*authority)
        self._good = self._authority.issue_cert(*self._names)
        self._folder: pathlib.Path | None = None
        if ca_file is None:
            self._folder = pathlib.Path(tempfile.mkdtemp(prefix="smarkets-pool-ca-"))
            ca_file = self._folder / "ca.pem"
        self.ca_file = os.fspath(ca_file)
        try:
            self._authority.cert_pem.write_to_path(self.ca_file)
        except OSError as error:
            raise ConfigError(f"the file {self.ca_file!r} cannot be written: {error.strerror}") from error

    @staticmethod
    def new_authority() -> tuple[bytes, bytes]:
        """A CA to keep: its certificate, and its key, which nobody is to see; both in PEM."""
        made = _new_ca()
        return made.cert_pem.bytes(), made.private_key_pem.bytes()

    def server_context(self, kind: str = "good") -> gevent.ssl.SSLContext:
        """A context that serves a certificate, TLS 1.2 at least; ``kind`` says what is wrong with it.

        A new one each time, so that no client resumes what it once proved to itself about another.
        """
        context = gevent.ssl.SSLContext(gevent.ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = gevent.ssl.TLSVersion.TLSv1_2
        self._issued(kind).configure_cert(context)
        return context

    def _issued(self, kind: str) -> trustme.LeafCert:
        if kind == "good":
            return self._good
        if kind == "untrusted":
            return _new_ca().issue_cert(*self._names)
        if kind == "wrong_name":
            return self._authority.issue_cert(_ELSEWHERE)
        today = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
        begin, end = {"expired": (-_MONTHS, -_DAY), "not_yet": (_DAY, _MONTHS)}[kind]
        return self._authority.issue_cert(*self._names, not_before=today + begin, not_after=today + end)

    def close(self) -> None:
        """Remove the file, if it is in a folder of our own; again is fine."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def _new_ca() -> trustme.CA:
    return trustme.CA(organization_name=_ORGANISATION)
