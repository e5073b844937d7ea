"""A throw-away CA and a certificate for loopback, made anew for each run."""

from __future__ import annotations

import pathlib
import shutil
import tempfile

import gevent.ssl
import trustme

__all__ = ["Certificates"]


class Certificates:
    """A CA of our own, in memory but for its public certificate.

    ``ca_file`` is the PEM file that clients are to trust; ``close`` removes it.
    """

    def __init__(self, *names: str) -> None:
        self._authority = trustme.CA(organization_name="smarkets_pool embedded exchange")
        self._issued = self._authority.issue_cert(*(names or ("localhost", "127.0.0.1", "::1")))
        self._folder = pathlib.Path(tempfile.mkdtemp(prefix="smarkets-pool-ca-"))
        self.ca_file = str(self._folder / "ca.pem")
        self._authority.cert_pem.write_to_path(self.ca_file)

    def server_context(self) -> gevent.ssl.SSLContext:
        """A context that serves the certificate, TLS 1.2 at least."""
        context = gevent.ssl.SSLContext(gevent.ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = gevent.ssl.TLSVersion.TLSv1_2
        self._issued.configure_cert(context)
        return context

    def close(self) -> None:
        """Remove the file; again is fine."""
        shutil.rmtree(self._folder, ignore_errors=True)
