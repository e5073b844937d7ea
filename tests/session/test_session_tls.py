"""TLS of a ``Session``: verified with the host's name, tuned and switched off by name, shared."""

from __future__ import annotations

import pathlib
import socket
import ssl
import warnings
from collections.abc import Iterator
from typing import Any

import gevent
import pytest
import trustme

from smarkets_pool.exceptions import ConfigError, ConnectionError, ConnectTimeout, ReceiveTimeout, TlsError
from smarkets_pool.exchange import EmbeddedExchange
from smarkets_pool.session import Session, SessionSettings
from smarkets_pool.session.tls import context_for
from tests.rig.ends import order
from tests.rig.peers import Line, Scripted, hold, mute, session_with

AUTHORITY = trustme.CA()
OTHER_AUTHORITY = trustme.CA()


def _serving(*names: str, authority: trustme.CA = AUTHORITY) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


@pytest.fixture(scope="module")
def ca_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    AUTHORITY.cert_pem.write_to_path(str(path))
    return str(path)


@pytest.fixture(scope="module")
def other_ca_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    OTHER_AUTHORITY.cert_pem.write_to_path(str(path))
    return str(path)


def _settings(**changes: Any) -> SessionSettings:
    return SessionSettings(**{"username": "u", "password": "p", "host": "127.0.0.1", "port": 1, **changes})


# --- verified -------------------------------------------------------------------------------------


def test_the_server_sees_the_host_name(ca_file: str) -> None:
    """4.1 row 1: the name asked for travels as SNI."""
    names = []
    context = _serving("localhost")
    context.sni_callback = lambda connection, name, _: names.append(name)
    with session_with(context=context, host="localhost", ca_file=ca_file) as session:
        session.log_in()
    assert names == ["localhost"]


def test_a_certificate_for_the_address_is_accepted(ca_file: str) -> None:
    """4.1 row 1: an address instead of a name is checked as an address."""
    with session_with(context=_serving("127.0.0.1"), ca_file=ca_file) as session:
        session.log_in()
        assert session.logged_in


@pytest.mark.parametrize("certified", ["exchange.example", "127.0.0.2"])
def test_a_certificate_for_another_name_is_refused(certified: str, ca_file: str) -> None:
    """4.1 row 1: a good certificate of somebody else is a TlsError that names the host; no login is sent."""
    with session_with(context=_serving(certified), ca_file=ca_file) as session:
        with pytest.raises(TlsError, match=r"could not prove that it is '127\.0\.0\.1'") as caught:
            session.log_in()
        assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)
        assert not session.connected
        assert session.raw_socket is None


def test_an_authority_that_is_not_trusted_is_refused(other_ca_file: str) -> None:
    """4.1 row 1: a certificate of an unknown authority is a TlsError."""
    with (
        session_with(context=_serving("127.0.0.1"), ca_file=other_ca_file) as session,
        pytest.raises(TlsError, match="unable to get local issuer certificate"),
    ):
        session.log_in()


def test_the_systems_authorities_are_asked_by_default() -> None:
    """4.1 row 1: without any TLS setting at all, a home-made certificate is refused."""
    with (
        session_with(context=_serving("127.0.0.1")) as session,
        pytest.raises(TlsError, match="could not prove"),
    ):
        session.log_in()


def test_a_self_signed_certificate_is_refused(tmp_path: pathlib.Path, ca_file: str) -> None:
    """4.1 row 1: a server that vouches for itself is refused."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    pem = tmp_path / "self.pem"
    pem.write_bytes(OTHER_AUTHORITY.private_key_pem.bytes() + OTHER_AUTHORITY.cert_pem.bytes())
    context.load_cert_chain(pem)
    with (
        session_with(context=context, ca_file=ca_file) as session,
        pytest.raises(TlsError, match=r"self[- ]signed"),
    ):
        session.log_in()


def test_an_embedded_exchange_with_another_certificate_is_refused(ca_file: str) -> None:
    """The same over the embedded exchange, which can be given any context."""
    with EmbeddedExchange(accounts=1, context=_serving("exchange.example")) as exchange:
        assert exchange.tls
        assert exchange.ca_file is None
        session = Session(_settings(**{**exchange.settings_for(0), "ca_file": ca_file}))
        with pytest.raises(TlsError):
            session.connect()


def test_tls_starts_without_ssl_wrap_socket(monkeypatch: pytest.MonkeyPatch, ca_file: str) -> None:
    """4.1 row 2: the function that Python 3.12 removed is not used."""
    monkeypatch.delattr(ssl, "wrap_socket", raising=False)
    with session_with(context=_serving("127.0.0.1"), ca_file=ca_file) as session:
        session.log_in()
        assert isinstance(session.raw_socket, ssl.SSLSocket)


def test_the_schema_loads_with_the_installed_protobuf() -> None:
    """4.1 row 3: protobuf 4 and later, with its compiled implementation, is what we run on."""
    import google.protobuf
    from google.protobuf.internal import api_implementation

    assert int(google.protobuf.__version__.split(".")[0]) >= 6
    assert api_implementation.Type() == "upb"


# --- versions -------------------------------------------------------------------------------------


def test_no_version_below_1_2_is_offered() -> None:
    """4.1 row 1: the context of a session asks for TLS 1.2 at least, with names checked."""
    context = context_for(_settings())
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.check_hostname
    assert context.verify_mode == ssl.CERT_REQUIRED


def test_an_old_server_is_refused(ca_file: str) -> None:
    """4.1 row 1: a server that speaks TLS 1.1 at most gets no login."""
    context = _serving("127.0.0.1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1_1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with (
        session_with(context=context, ca_file=ca_file) as session,
        pytest.raises(ConnectionError, match="handshake"),
    ):
        session.log_in()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_present_versions_are_spoken(version: ssl.TLSVersion, ca_file: str) -> None:
    """TLS 1.2 and 1.3 both work."""
    context = _serving("127.0.0.1")
    context.minimum_version = context.maximum_version = version
    with session_with(context=context, ca_file=ca_file) as session:
        session.log_in()
        assert session.raw_socket.version() == version.name.replace("_", ".")  # type: ignore[union-attr]


# --- not TLS at all -------------------------------------------------------------------------------


def test_a_plain_server_is_named_as_a_possible_cause() -> None:
    """TLS against a server that speaks without it fails with the hint ssl=False."""

    def plain(line: Line) -> None:
        line.socket.recv(1000)
        line.send(b"\x08\x08\x01\x12\x04\x08\x01\x10\x02" * 3)

    with Scripted(plain) as server:
        session = Session(_settings(port=server.port))
        with pytest.raises(ConnectionError, match="ssl=False"):
            session.connect()
        assert not session.connected


def test_a_server_that_never_shakes_hands_times_out() -> None:
    """The handshake is bounded by socket_timeout and the connection closed."""
    with Scripted(mute) as server:
        session = Session(_settings(port=server.port, socket_timeout=0.1))
        with pytest.raises(ConnectTimeout, match="TLS handshake"):
            session.connect()
        assert not session.connected


def test_a_connect_that_is_interrupted_leaves_nothing_open() -> None:
    """A gevent.Timeout in the middle of the handshake closes the socket and passes on."""
    with Scripted(mute) as server:
        session = Session(_settings(port=server.port))
        with gevent.Timeout(0.05), pytest.raises(gevent.Timeout):
            session.connect()
        assert not session.connected


def test_silence_over_tls_is_a_receive_timeout(ca_file: str) -> None:
    """4.1 row 10: the timeout is recognised over TLS as well."""
    with session_with(context=_serving("127.0.0.1"), ca_file=ca_file, socket_timeout=0.2) as session:
        session.log_in()
        with pytest.raises(ReceiveTimeout):
            session.read()
        assert not session.connected


def test_much_is_written_over_tls(ca_file: str) -> None:
    """4.1 row 12: flush finishes partial writes over TLS too."""
    labels = []

    def script(line: Line) -> None:
        line.accept()
        labels.extend(len(line.payload().order_create.label) for _ in range(6))
        line.until_closed()

    with session_with(script, context=_serving("127.0.0.1"), ca_file=ca_file) as session:
        session.log_in()
        for _ in range(6):
            message = order()
            message.label = "x" * 1_000_000
            session.send(message)
        session.flush()
        session.raw_socket._sock.shutdown(socket.SHUT_WR)  # type: ignore[union-attr]
        with pytest.raises(ConnectionError):
            session.read()
    assert labels == [1_000_000] * 6


# --- switched off, and tuned ----------------------------------------------------------------------


def test_cert_none_switches_the_checks_off_by_name() -> None:
    """4.1 row 1: only ``cert_reqs=ssl.CERT_NONE`` accepts anybody."""
    settings = {"ssl_kwargs": {"cert_reqs": ssl.CERT_NONE}}
    with session_with(context=_serving("exchange.example"), **settings) as session:
        session.log_in()
        assert session.logged_in


@pytest.mark.parametrize("cert_reqs", [ssl.CERT_REQUIRED, ssl.CERT_OPTIONAL, None])
def test_nothing_else_switches_the_checks_off(cert_reqs: object) -> None:
    """4.1 row 1: any other value of cert_reqs leaves name and certificate checked."""
    context = context_for(_settings(ssl_kwargs={"cert_reqs": cert_reqs}))
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname


def test_ca_certs_of_ssl_kwargs_is_what_is_trusted(ca_file: str) -> None:
    """The vendor's ``ca_certs`` maps onto the context's authorities."""
    with session_with(context=_serving("127.0.0.1"), ssl_kwargs={"ca_certs": ca_file}) as session:
        session.log_in()
        assert session.logged_in


def test_ciphers_of_ssl_kwargs_are_used() -> None:
    """The vendor's ``ciphers`` maps onto the context."""
    context = context_for(_settings(ssl_kwargs={"ciphers": "ECDHE-RSA-AES256-GCM-SHA384"}))
    below_1_3 = {cipher["name"] for cipher in context.get_ciphers() if cipher["protocol"] != "TLSv1.3"}
    assert below_1_3 == {"ECDHE-RSA-AES256-GCM-SHA384"}


@pytest.mark.parametrize("split", [False, True], ids=["one file", "two files"])
def test_a_client_certificate_is_shown(split: bool, tmp_path: pathlib.Path, ca_file: str) -> None:
    """The vendor's ``certfile`` and ``keyfile`` are what the server gets to see."""
    issued = AUTHORITY.issue_cert("client@example.com")
    certificate, key = tmp_path / "client.pem", tmp_path / "client.key"
    issued.cert_chain_pems[0].write_to_path(str(certificate))
    issued.private_key_pem.write_to_path(str(key if split else certificate), append=True)
    context = _serving("127.0.0.1")
    context.verify_mode = ssl.CERT_REQUIRED
    AUTHORITY.configure_trust(context)
    names = []

    def script(line: Line) -> None:
        line.accept()
        names.append(line.socket.getpeercert()["subjectAltName"])

    kwargs = {"certfile": str(certificate), **({"keyfile": str(key)} if split else {})}
    with session_with(script, context=context, ca_file=ca_file, ssl_kwargs=kwargs) as session:
        session.log_in()
        with pytest.raises(ConnectionError):
            session.read()
    assert names == [(("email", "client@example.com"),)]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        (
            {"ssl_kwargs": {"do_handshake_on_connect": False, "ssl_version": 2}},
            "do_handshake_on_connect, ssl_v",
        ),
        (
            {"ssl_kwargs": {"server_hostname": "x"}},
            "known are ca_certs, cert_reqs, certfile, ciphers, keyfile",
        ),
        ({"ssl_kwargs": {"ciphers": "NO-SUCH-CIPHER"}}, "no TLS context can be made"),
        ({"ca_file": "/no/such/file"}, "ca_file '/no/such/file' cannot be read"),
        ({"ssl_kwargs": {"certfile": "/no/such/file"}}, "certfile '/no/such/file' cannot be read"),
        ({"ca_file": __file__}, "no TLS context can be made"),
        ({"ssl_context": ssl.create_default_context(), "ca_file": __file__}, "ssl_context is used as it is"),
        (
            {"ssl_context": ssl.create_default_context(), "ssl_kwargs": {"ciphers": "ALL"}},
            "ssl_context is used as it is",
        ),
        ({"ca_file": __file__, "ssl_kwargs": {"ca_certs": __file__}}, "both ca_file and ssl_kwargs"),
    ],
)
def test_tls_settings_that_cannot_work_are_refused_before_any_socket(
    changes: dict[str, Any], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unknown, unusable or contradicting TLS settings are a ConfigError and open nothing."""

    def never(*_: object, **__: object) -> None:
        raise AssertionError("a socket was asked for")

    monkeypatch.setattr(socket, "getaddrinfo", never)
    with pytest.raises(ConfigError, match=named):
        Session(_settings(**changes)).connect()


_READY = ssl.create_default_context()
_ONE_OF_EACH: dict[str, Any] = {
    "ssl_context": _READY,
    "ssl_kwargs": {"ciphers": "ALL"},
    "ca_file": "ca.pem",
    "cert_file": "ours.pem",
    "key_file": "ours.key",
}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        *(
            (
                {"ssl": False, name: value},
                f"ssl=False sends everything in the clear, and only TLS has a use for {name}: leave the one "
                "or the other out",
            )
            for name, value in _ONE_OF_EACH.items()
        ),
        (
            {"ssl": False, **{name: _ONE_OF_EACH[name] for name in ("key_file", "cert_file", "ca_file")}},
            "ssl=False sends everything in the clear, and only TLS has a use for ca_file, cert_file, "
            "key_file: leave the one or the other out",
        ),
        *(
            (
                {"ssl_context": _READY, name: value},
                f"ssl_context is used as it is: put {name} into it instead",
            )
            for name, value in _ONE_OF_EACH.items()
            if name != "ssl_context"
        ),
        (_ONE_OF_EACH, "ssl_context is used as it is: put ssl_kwargs, ca_file, cert_file, key_file into it"),
        *(
            (
                {"cert_file": "ours.pem", ours: "a.pem", "ssl_kwargs": {theirs: "b.pem"}},
                f"both {ours} and ssl_kwargs['{theirs}'] are given: give one",
            )
            for ours, theirs in (("ca_file", "ca_certs"), ("cert_file", "certfile"), ("key_file", "keyfile"))
        ),
        ({"key_file": "ours.key"}, "key_file is the key of a certificate: give cert_file too"),
        (
            {"ssl_kwargs": {"keyfile": "ours.key"}},
            "ssl_kwargs['keyfile'] is the key of a certificate: give certfile too",
        ),
    ],
)
def test_tls_settings_that_contradict_each_other_are_refused(changes: dict[str, Any], said: str) -> None:
    """Each contradiction has its sentence, which says what to leave out; no file is looked at for it."""
    with pytest.raises(ConfigError) as caught:
        _settings(**changes).check()
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(
    "changes",
    [
        {"ssl": False, "ssl_kwargs": {}},
        {"ssl": False, "ssl_kwargs": None},
        {"ssl_context": _READY, "ssl_kwargs": {}},
        {"ca_file": "ca.pem", "cert_file": "ours.pem", "key_file": "ours.key"},
        {"ca_file": "ca.pem", "ssl_kwargs": {"ciphers": "ALL", "ca_certs": None}},
        {"cert_file": "ours.pem", "ssl_kwargs": {"keyfile": "ours.key"}},
    ],
)
def test_tls_settings_that_agree_are_taken(changes: dict[str, Any]) -> None:
    """What says the same in two ways, or says nothing, contradicts nothing."""
    _settings(**changes).check()


@pytest.mark.parametrize("timeout", [0, -1, float("inf"), float("nan"), 1e18, "5", None])
def test_a_socket_timeout_is_a_time_that_ends(timeout: Any) -> None:
    """What no socket can be given is refused before there is one."""
    with pytest.raises(ConfigError, match="socket_timeout is a length in seconds above 0 that ends, not"):
        _settings(socket_timeout=timeout).check()


# --- shared ---------------------------------------------------------------------------------------


def test_equal_settings_share_one_context(ca_file: str) -> None:
    """A context costs more than a handshake: sessions with the same trust use one object."""
    assert context_for(_settings()) is context_for(_settings(username="other", host="other"))
    assert context_for(_settings(ca_file=ca_file)) is context_for(_settings(ca_file=ca_file))
    assert context_for(_settings(ca_file=ca_file)) is context_for(_settings(ssl_kwargs={"ca_certs": ca_file}))


def test_different_trust_shares_nothing(ca_file: str, other_ca_file: str) -> None:
    """Switching the checks off for one session does not reach another one's context."""
    contexts = [
        context_for(_settings()),
        context_for(_settings(ca_file=ca_file)),
        context_for(_settings(ca_file=other_ca_file)),
        context_for(_settings(ssl_kwargs={"cert_reqs": ssl.CERT_NONE})),
        context_for(_settings(ca_file=ca_file, ssl_kwargs={"cert_reqs": ssl.CERT_NONE})),
    ]
    assert len({id(context) for context in contexts}) == len(contexts)


@pytest.fixture
def renewed(tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    path = tmp_path / "ca.pem"
    AUTHORITY.cert_pem.write_to_path(str(path))
    yield path


def test_a_file_that_was_replaced_is_read_again(renewed: pathlib.Path) -> None:
    """A renewed authority under the same name is not served from the cache."""
    before = context_for(_settings(ca_file=str(renewed)))
    OTHER_AUTHORITY.cert_pem.write_to_path(str(renewed))
    renewed.write_bytes(renewed.read_bytes() + b"\n")
    assert context_for(_settings(ca_file=str(renewed))) is not before


def test_a_given_context_is_used_as_it_is(ca_file: str) -> None:
    """``ssl_context`` wins over everything and is not copied."""
    context = ssl.create_default_context(cafile=ca_file)
    assert context_for(_settings(ssl_context=context)) is context
    with session_with(hold, context=_serving("127.0.0.1"), ssl_context=context) as session:
        session.log_in()
        assert session.raw_socket.context is context  # type: ignore[union-attr]
