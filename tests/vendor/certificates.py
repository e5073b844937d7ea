"""Throw-away certificates for the rows that speak TLS, as files: the SDK's venv cannot make any."""

from __future__ import annotations

import pathlib

import trustme


def make_certificates(folder: pathlib.Path) -> None:
    """Write an authority and three certificates with their keys.

    ``ca.pem`` is the authority to trust, ``localhost.pem`` is right, ``elsewhere.pem`` is of the same
    authority for another host, ``stranger.pem`` is for localhost, of an authority nobody knows.
    """
    trusted, unknown = trustme.CA(), trustme.CA()
    trusted.cert_pem.write_to_path(str(folder / "ca.pem"))
    for name, authority, host in (
        ("localhost", trusted, "localhost"),
        ("elsewhere", trusted, "elsewhere.example"),
        ("stranger", unknown, "localhost"),
    ):
        certificate = authority.issue_cert(host)
        certificate.private_key_and_cert_chain_pem.write_to_path(str(folder / f"{name}.pem"))
