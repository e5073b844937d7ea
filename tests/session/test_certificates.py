"""What each certificate's failure is, on both sides: its own error, its sentence, final for one account."""

from __future__ import annotations

import dataclasses
import datetime
import ipaddress
import os
import pathlib
import socket
import ssl
import subprocess
import sys
import textwrap
import traceback
from collections.abc import Callable
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from smarkets_pool import DOWN, Account, Pool
from smarkets_pool.exceptions import (
    CertificateExpired,
    CertificateNotYetValid,
    CertificateSelfSigned,
    CertificateUntrusted,
    CertificateWrongName,
    ClientCertificateRefused,
    ConfigError,
    ConnectionError,
    TlsError,
)
from smarkets_pool.exchange import EmbeddedExchange
from smarkets_pool.session import Session
from tests.rig.peers import Line, Scripted, session_with
from tests.rig.pooling import AT_ONCE, RawServer, Record, Talk
from tests.rig.waiting import eventually

HERE = "127.0.0.1"
AUTHORITY = trustme.CA()
STRANGER = trustme.CA()
INTERMEDIATE = AUTHORITY.create_child_ca()
#: What must be in no error: a password and a token.
SECRET = "hunter2-horse-battery"

VERSIONS = pytest.mark.parametrize(
    "version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["TLS 1.2", "TLS 1.3"]
)


# --- certificates -----------------------------------------------------------------------------------


def _day(year: int) -> datetime.datetime:
    return datetime.datetime(year, 1, 1)


PAST = {"not_before": _day(2001), "not_after": _day(2002)}
FUTURE = {"not_before": _day(2036), "not_after": _day(2037)}


def serving(version: ssl.TLSVersion, certificate: trustme.LeafCert | None = None) -> ssl.SSLContext:
    """A server's context for that version of TLS, with a good certificate unless another is given."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = context.maximum_version = version
    (certificate or AUTHORITY.issue_cert(HERE)).configure_cert(context)
    return context


def demanding(version: ssl.TLSVersion) -> ssl.SSLContext:
    """The same, and whoever connects has to show a certificate of ``AUTHORITY``."""
    context = serving(version)
    context.verify_mode = ssl.CERT_REQUIRED
    AUTHORITY.configure_trust(context)
    return context


def from_files(version: ssl.TLSVersion, *pems: bytes) -> ssl.SSLContext:
    """A server's context that sends exactly these certificates, the first with its key."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = context.maximum_version = version
    with trustme.Blob(b"".join(pems)).tempfile() as path:
        context.load_cert_chain(path)
    return context


def self_signed() -> tuple[bytes, bytes]:
    """Key and certificate, in PEM, of a server that vouches for itself and is no authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "self")])
    address = x509.IPAddress(ipaddress.ip_address(HERE))
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_day(2001))
        .not_valid_after(_day(2037))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return pem, made.public_bytes(serialization.Encoding.PEM)


SELF_SIGNED_KEY, SELF_SIGNED = self_signed()


def _leaf_alone(version: ssl.TLSVersion) -> ssl.SSLContext:
    issued = INTERMEDIATE.issue_cert(HERE)
    return from_files(version, issued.private_key_pem.bytes(), issued.cert_chain_pems[0].bytes())


def _strangers_whole_chain(version: ssl.TLSVersion) -> ssl.SSLContext:
    issued = STRANGER.issue_cert(HERE)
    chain = [pem.bytes() for pem in issued.cert_chain_pems]
    return from_files(version, issued.private_key_pem.bytes(), *chain, STRANGER.cert_pem.bytes())


@dataclasses.dataclass(frozen=True)
class Fault:
    """A server that cannot prove who it is: its context, the error, what was found, what to do."""

    what: str
    context: Callable[[ssl.TLSVersion], ssl.SSLContext]
    error: type[TlsError]
    found: str
    advice: str
    host: str = HERE

    def __str__(self) -> str:
        return self.what


FAULTS = [
    Fault(
        "expired",
        lambda version: serving(version, AUTHORITY.issue_cert(HERE, **PAST)),
        CertificateExpired,
        "certificate has expired",
        "the exchange has to renew it; look at this machine's clock first",
    ),
    Fault(
        "not yet valid",
        lambda version: serving(version, AUTHORITY.issue_cert(HERE, **FUTURE)),
        CertificateNotYetValid,
        "certificate is not yet valid",
        "look at this machine's clock first, then ask the exchange for a new one",
    ),
    Fault(
        "wrong name",
        lambda version: serving(version, AUTHORITY.issue_cert("exchange.example", HERE)),
        CertificateWrongName,
        "certificate is not valid for 'localhost'",
        "check host: it must be a name that the certificate is for",
        host="localhost",
    ),
    Fault(
        "wrong address",
        lambda version: serving(version, AUTHORITY.issue_cert("localhost", "127.0.0.2")),
        CertificateWrongName,
        "certificate is not valid for '127.0.0.1'",
        "check host: it must be an address that the certificate is for",
    ),
    Fault(
        "wrong authority",
        lambda version: serving(version, STRANGER.issue_cert(HERE)),
        CertificateUntrusted,
        "unable to get local issuer certificate",
        "to trust a CA of your own, name its certificate with ca_file",
    ),
    Fault(
        "wrong authority in the chain",
        _strangers_whole_chain,
        CertificateUntrusted,
        "in certificate chain",
        "to trust a CA of your own, name its certificate with ca_file",
    ),
    Fault(
        "missing intermediate",
        _leaf_alone,
        CertificateUntrusted,
        "unable to get local issuer certificate",
        "if it is named there, the exchange does not send all that lies between",
    ),
    Fault(
        "self-signed",
        lambda version: from_files(version, SELF_SIGNED_KEY, SELF_SIGNED),
        CertificateSelfSigned,
        "signed certificate",
        "if you know it to be right, name the certificate itself with ca_file",
    ),
]
EACH_FAULT = pytest.mark.parametrize("fault", FAULTS, ids=str)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder with ``ca.pem`` and the certificates that clients show."""
    found = tmp_path_factory.mktemp("certificates")
    AUTHORITY.cert_pem.write_to_path(str(found / "ca.pem"))
    (found / "self.pem").write_bytes(SELF_SIGNED)
    for name, issued in {
        "right": AUTHORITY.issue_cert("client@example.com"),
        "strange": STRANGER.issue_cert("client@example.com"),
        "expired": AUTHORITY.issue_cert("client@example.com", **PAST),
        "early": AUTHORITY.issue_cert("client@example.com", **FUTURE),
    }.items():
        issued.private_key_and_cert_chain_pem.write_to_path(str(found / f"{name}.pem"))
        issued.cert_chain_pems[0].write_to_path(str(found / f"{name}.crt"))
        issued.private_key_pem.write_to_path(str(found / f"{name}.key"))
    return found


def said_by(error: BaseException) -> str:
    """All that an error can show: texts, causes, tracebacks, and the locals of the package's frames."""
    found: list[str] = []
    step: BaseException | None = error
    while step is not None:
        found += [str(step), repr(step), repr(step.args)]
        for frame in traceback.TracebackException.from_exception(step, capture_locals=True).stack:
            if "/smarkets_pool/" in frame.filename:
                found.append(f"{frame.name} {frame.locals}")
        step = step.__cause__ or step.__context__
    return "\n".join(found)


# --- the exchange's certificate ---------------------------------------------------------------------


@VERSIONS
@EACH_FAULT
@pytest.mark.parametrize("secrets", [{"password": SECRET}, {"token": SECRET}], ids=["password", "token"])
def test_each_failure_is_an_error_of_its_own(
    fault: Fault, version: ssl.TLSVersion, secrets: dict[str, str], folder: pathlib.Path
) -> None:
    """It says whom we asked, what was found and what to do; no secret was sent or is told."""
    heard: list[str] = []
    with session_with(
        lambda line: heard.extend(line.until_closed()),
        context=fault.context(version),
        host=fault.host,
        ca_file=str(folder / "ca.pem"),
        **secrets,
    ) as session:
        with pytest.raises(TlsError) as caught:
            session.log_in()
        assert type(caught.value) is fault.error
        said = str(caught.value)
        where = f"{fault.host}:{session.settings.port} could not prove that it is {fault.host!r}: "
        assert said.startswith(where)
        assert fault.found in said
        assert fault.advice in said
        assert ".;" not in said and not said.endswith(".")
        assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)
        assert SECRET not in said_by(caught.value)
        assert session.raw_socket is None
    assert heard == []


@EACH_FAULT
def test_a_failure_is_final_for_its_account_alone(fault: Fault, folder: pathlib.Path) -> None:
    """One attempt, then the account is given up and told so; the others of the pool come up."""
    with (
        EmbeddedExchange(accounts=2) as exchange,
        RawServer(Talk.to_the_end, context=fault.context(ssl.TLSVersion.TLSv1_3)) as bad,
    ):
        pool = Pool(
            [
                Account("bob", **exchange.settings_for(0)),
                bad.account(host=fault.host, ca_file=str(folder / "ca.pem"), password=SECRET),
                Account("carol", **exchange.settings_for(1)),
            ],
            reconnect=AT_ONCE,
        )
        record = Record(pool)
        with pool:
            for name in ("bob", "carol"):
                record.wait("member.up", account=name)
            is_final(pool, record, fault.error, fault.found, SECRET)
            assert bad.accepted == 1
            assert [record.names(name, only="member.down") for name in ("bob", "carol")] == [[], []]


def is_final(pool: Pool, record: Record, error: type[TlsError], found: str, secret: str) -> None:
    """``alice`` was given up at her first attempt, for this reason, and everybody is told so."""
    down = record.wait("member.down").message
    member = pool["alice"]
    assert type(down.error) is error
    assert found in down.reason
    assert down.retry_in is None and down.final
    assert member.state is DOWN
    assert member.given_up == f"trying again cannot help: {down.error}"
    stats = member.stats()
    assert (stats["connection_number"], stats["retry_in_seconds"]) == (1, None)
    assert secret not in said_by(down.error) + member.given_up + member.why_down + repr(stats)


@VERSIONS
def test_an_intermediate_that_is_sent_is_followed(version: ssl.TLSVersion, folder: pathlib.Path) -> None:
    """A chain that leads to the trusted authority is as good as a certificate of its own."""
    with session_with(
        context=serving(version, INTERMEDIATE.issue_cert(HERE)), ca_file=str(folder / "ca.pem")
    ) as session:
        session.log_in()
        assert session.logged_in


@VERSIONS
def test_the_advice_for_a_self_signed_certificate_is_right(
    version: ssl.TLSVersion, folder: pathlib.Path
) -> None:
    """Named with ``ca_file`` it is trusted, and nothing else is."""
    for context, error in (
        (from_files(version, SELF_SIGNED_KEY, SELF_SIGNED), None),
        (serving(version), CertificateUntrusted),
    ):
        with session_with(context=context, ca_file=str(folder / "self.pem")) as session:
            if error is None:
                session.log_in()
                assert session.logged_in
            else:
                with pytest.raises(error):
                    session.log_in()


def test_an_account_that_was_given_up_comes_back_when_it_is_mended(folder: pathlib.Path) -> None:
    """``update`` with what was missing lifts it."""
    with EmbeddedExchange(accounts=1) as exchange:
        settings = {**exchange.settings_for(0), "ca_file": str(folder / "ca.pem")}
        with Pool([Account("alice", **settings)], reconnect=AT_ONCE) as pool:
            eventually(lambda: pool["alice"].given_up)
            pool.update("alice", ca_file=exchange.ca_file)
            pool.wait_until_up(timeout=10)


# --- our certificate --------------------------------------------------------------------------------

REFUSED = [
    (None, "refused us without a certificate: give cert_file: "),
    ("strange", "strange.pem': tlsv1 alert unknown ca"),
    ("expired", "expired.pem': sslv3 alert certificate expired"),
    ("early", "early.pem': sslv3 alert bad certificate"),
]
EACH_REFUSED = pytest.mark.parametrize(
    ("shown", "said"), REFUSED, ids=["none", "strange", "expired", "early"]
)


def _shown(folder: pathlib.Path, name: str | None) -> dict[str, str]:
    return {"ca_file": str(folder / "ca.pem"), **({"cert_file": str(folder / f"{name}.pem")} if name else {})}


@VERSIONS
@EACH_REFUSED
def test_a_refusal_of_our_certificate_is_said(
    shown: str | None, said: str, version: ssl.TLSVersion, folder: pathlib.Path
) -> None:
    """Whichever version of TLS, and before or behind the handshake: it is about who *we* are."""
    with session_with(context=demanding(version), password=SECRET, **_shown(folder, shown)) as session:
        with pytest.raises(ClientCertificateRefused) as caught:
            session.log_in()
        assert str(caught.value).startswith(f"{HERE}:{session.settings.port} refused ")
        assert said in str(caught.value)
        assert SECRET not in said_by(caught.value)
        assert not session.connected


@VERSIONS
@EACH_REFUSED
def test_a_refusal_of_our_certificate_is_final_for_its_account_alone(
    shown: str | None, said: str, version: ssl.TLSVersion, folder: pathlib.Path
) -> None:
    """One attempt; an account with the right certificate is let in at the same exchange."""
    with EmbeddedExchange(accounts=2, context=demanding(version)) as exchange:
        names = {"alice": shown, "bob": "right"}
        pool = Pool(
            [
                Account(name, **{**exchange.settings_for(number), **_shown(folder, names[name])})
                for number, name in enumerate(names)
            ],
            reconnect=AT_ONCE,
        )
        record = Record(pool)
        with pool:
            record.wait("member.up", account="bob")
            is_final(pool, record, ClientCertificateRefused, said, exchange.logins[0].password)
            assert record.names("bob", only="member.down") == []


@VERSIONS
@pytest.mark.parametrize(
    "files",
    [
        {"cert_file": "right.pem"},
        {"cert_file": "right.crt", "key_file": "right.key"},
        {"ssl_kwargs": {"certfile": "right.pem"}},
        {"ssl_kwargs": {"certfile": "right.crt", "keyfile": "right.key"}},
        {"cert_file": "right.crt", "ssl_kwargs": {"keyfile": "right.key"}},
    ],
    ids=["one file", "two files", "one by the vendor's name", "two by the vendor's names", "one of each"],
)
def test_the_right_certificate_is_let_in(
    files: dict[str, Any], version: ssl.TLSVersion, folder: pathlib.Path
) -> None:
    """With the key in the same file or in one of its own; the exchange sees who it is."""

    def absolute(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: absolute(inner) for key, inner in value.items()}
        return str(folder / value)

    names = []

    def script(line: Line) -> None:
        line.accept()
        names.append(line.socket.getpeercert()["subjectAltName"])
        line.until_closed()

    with session_with(
        script, context=demanding(version), ca_file=str(folder / "ca.pem"), **absolute(files)
    ) as session:
        session.log_in()
        assert session.logged_in
    assert names == [(("email", "client@example.com"),)]


def test_a_given_contexts_certificate_is_not_called_a_file(folder: pathlib.Path) -> None:
    """Who passes an ``ssl_context`` is not told to give ``cert_file``, which would contradict it."""
    context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    context.load_cert_chain(folder / "strange.pem")
    with (
        session_with(context=demanding(ssl.TLSVersion.TLSv1_3), ssl_context=context) as session,
        pytest.raises(ClientCertificateRefused, match="load the right certificate into it: tlsv1 alert unk"),
    ):
        session.log_in()


def test_a_refusal_that_comes_before_the_login_was_written_is_heard(folder: pathlib.Path) -> None:
    """An exchange that has closed takes no login, and what it said before that still counts."""
    with session_with(context=demanding(ssl.TLSVersion.TLSv1_3), ca_file=str(folder / "ca.pem")) as session:
        session.socket.connect()
        raw = session.raw_socket
        assert raw is not None
        closed = b"\x07"  # linux/tcp_states.h
        eventually(lambda: raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) == closed)
        with pytest.raises(ClientCertificateRefused, match="certificate required"):
            session.socket.send(b"login")
        assert not session.connected


@pytest.mark.parametrize("alert", [40, 42, 43, 44, 45, 46, 48, 49, 116])
def test_an_alert_before_the_exchange_said_a_word_is_no_refusal(alert: int, folder: pathlib.Path) -> None:
    """Anybody on the way can send one, and nobody has seen our certificate yet: it is tried again."""

    def shout(line: Line) -> None:
        line.socket.recv(65536)
        line.send(bytes([21, 3, 3, 0, 2, 2, alert]))

    with Scripted(shout) as server:
        settings = {
            "host": server.host,
            "port": server.port,
            "username": "u",
            "password": "p",
            **_shown(folder, "right"),
        }
        session = Session(Account("alice", **settings).settings)  # type: ignore[arg-type]
        with pytest.raises(ConnectionError, match="handshake") as caught:
            session.log_in()
    assert not isinstance(caught.value, TlsError)


def test_no_cipher_in_common_is_no_refusal(folder: pathlib.Path) -> None:
    """The alert is the one that TLS 1.2 also has for a missing certificate; nothing was asked of us here."""
    context = demanding(ssl.TLSVersion.TLSv1_2)
    context.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
    with (
        session_with(
            context=context,
            ca_file=str(folder / "ca.pem"),
            ssl_kwargs={"ciphers": "ECDHE-ECDSA-AES256-GCM-SHA384"},
        ) as session,
        pytest.raises(ConnectionError, match="handshake failure") as caught,
    ):
        session.log_in()
    assert not isinstance(caught.value, TlsError)


# --- files ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def encrypted(folder: pathlib.Path) -> str:
    """A client's certificate whose key is encrypted, in one file."""
    key = serialization.load_pem_private_key((folder / "right.key").read_bytes(), None)
    locked = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"open sesame"),
    )
    path = folder / "locked.pem"
    path.write_bytes((folder / "right.crt").read_bytes() + locked)
    return str(path)


_LOCKED = """
    import sys
    if sys.argv[2] == "pool":
        from gevent import monkey; monkey.patch_all()
    from smarkets_pool import Account, Pool
    from smarkets_pool.exceptions import ConfigError
    from smarkets_pool.session import Session

    account = Account("a", username="u", password="p", host="127.0.0.1", port=1, cert_file=sys.argv[1])
    try:
        if sys.argv[2] == "pool":
            Pool([account]).start()
        else:
            Session(account.settings).connect()
    except ConfigError as error:
        print(error)
"""


@pytest.mark.parametrize("how", ["pool", "session"])
@pytest.mark.parametrize("entry", ["closed", "silent"])
def test_an_encrypted_key_is_refused_without_a_question(how: str, entry: str, encrypted: str) -> None:
    """Nobody is there to type a passphrase: the process neither asks nor waits, whatever its input is."""
    reading, writing = os.pipe()
    if entry == "closed":
        os.close(writing)
    try:
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(_LOCKED), encrypted, how],
            stdin=reading,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            start_new_session=True,  # no terminal to ask at
        )
    finally:
        os.close(reading)
        if entry != "closed":
            os.close(writing)
    assert done.returncode == 0, done.stderr
    assert "the key of the client certificate is encrypted: decrypt it into a file" in done.stdout
    assert "PEM pass phrase" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"cert_file": "right.crt"}, "cert_file "),
        ({"cert_file": "right.crt", "key_file": "strange.key"}, "key values mismatch"),
        ({"cert_file": "right.key", "key_file": "right.key"}, "cert_file "),
        ({"cert_file": "missing.pem"}, "missing.pem' cannot be read"),
        ({"cert_file": "right.crt", "key_file": "missing.key"}, "missing.key' cannot be read"),
        ({"ca_file": "right.key"}, "ca_file "),
    ],
    ids=["no key", "another's key", "no certificate", "no file", "no key file", "no authority"],
)
def test_files_that_cannot_be_used_are_named(files: dict[str, str], said: str, folder: pathlib.Path) -> None:
    """A pool does not start with them; the text says which files, and nothing of what is in them."""
    settings = {name: str(folder / value) for name, value in files.items()}
    pool = Pool([Account("alice", username="u", password="p", host=HERE, port=1, **settings)])
    with pytest.raises(ConfigError) as caught:
        pool.start()
    assert str(caught.value).startswith("account 'alice': ")
    assert said in str(caught.value)
    assert any(str(folder / value) in str(caught.value) for value in files.values())
    assert "PRIVATE KEY" not in said_by(caught.value)


def test_files_that_are_being_replaced_are_waited_for(folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """What worked once and cannot be read for a moment gives no account up: the next attempt has it."""
    certificate, key = tmp_path / "ours.crt", tmp_path / "ours.key"
    certificate.write_bytes((folder / "right.crt").read_bytes())
    key.write_bytes((folder / "right.key").read_bytes())

    with EmbeddedExchange(accounts=1, context=demanding(ssl.TLSVersion.TLSv1_3)) as exchange:
        settings = {
            **exchange.settings_for(0),
            "ca_file": str(folder / "ca.pem"),
            "cert_file": str(certificate),
            "key_file": str(key),
        }
        pool = Pool([Account("alice", **settings)], reconnect=AT_ONCE)
        record = Record(pool)
        with pool:
            record.wait("member.up")
            # The new certificate is there, its key is not yet.
            certificate.write_bytes((folder / "strange.crt").read_bytes())
            exchange.cut(exchange.logins[0].username)
            down = record.wait("member.down", 2).message
            assert type(down.error) is ConnectionError
            assert "key values mismatch" in down.reason
            assert "it was fine before, so somebody may be replacing it" in down.reason
            assert down.retry_in is not None
            certificate.unlink()
            eventually(lambda: "cannot be read" in pool["alice"].why_down)
            certificate.write_bytes((folder / "right.crt").read_bytes())
            record.wait("member.up", 2)
