"""``ControlServer``: the control as HTTP and JSON on loopback, for tests in any language.

======================  =============================================================================
``GET /``               every command: name, kind, usage, text
``GET /NAME?key=value`` a reading; values as in a command in writing
``POST /NAME``          any command; its arguments are the body, a JSON table (or nothing)
``POST /``              a command in writing: ``{"command": "drop account=ann frames=3"}``
======================  =============================================================================

Every request carries ``Authorization: Bearer TOKEN``; the token is made anew for each server and stands in
the ready file. The answer is ``{"value": ...}``, or ``{"error": sentence}`` with a status that fits: 400 for
what cannot be done, 401 for no token or a wrong one, 404 for no such command, 405 for a change asked for with
GET and 413 for a body that is too large.

Flask is imported here and nowhere else: who does not use this needs none.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import IO, Any

import gevent.pool
import gevent.pywsgi
import gevent.socket

try:
    import flask
    import werkzeug.exceptions
except ModuleNotFoundError as _error:
    raise ModuleNotFoundError(
        f"the exchange's control over HTTP needs {_error.name}: install this package with its extra, "
        "pip install '/path/to/smarkets_pool[exchange]'",
        name=_error.name,
    ) from _error

from smarkets_pool.exceptions import ConfigError, Error, UsageError
from smarkets_pool.exchange.control.arguments import near, parse_value
from smarkets_pool.exchange.control.commands import Control
from smarkets_pool.logs import PlaceLog

__all__ = ["ControlServer", "MAX_BODY"]

_log = PlaceLog("exchange.control")

#: Bytes a request's body may have.
MAX_BODY = 64 * 1024
#: Connections served at once; more have to wait.
_CONNECTIONS = 64
#: Loopback and nothing else: whoever reaches this server rules the exchange.
_HOST = "127.0.0.1"


class _Secret:
    """A text that shows itself to nobody who prints, copies or pickles what holds it."""

    __slots__ = ("_tell",)

    def __init__(self, text: str) -> None:
        self._tell: Callable[[], str] = lambda: text

    def __repr__(self) -> str:
        return "<a secret>"

    def tell(self) -> str:
        return self._tell()


class ControlServer:
    """Serves a ``Control`` on a loopback port; a context manager.

    Args:
        control: what carries the commands out.
        port: 0 takes a free one.
    """

    def __init__(self, control: Control, *, port: int = 0) -> None:
        token = secrets.token_urlsafe(32)
        self._control = control
        self._port = port
        self._token = _Secret(token)
        self._digest = _digest(token.encode())
        self._greenlets = gevent.pool.Pool(_CONNECTIONS)
        self._server: gevent.pywsgi.WSGIServer | None = None

    def __repr__(self) -> str:
        return f"<ControlServer {_HOST}:{self._port}>"

    # --- life ------------------------------------------------------------------------------------

    def start(self) -> None:
        """Listen.

        Raises:
            ConfigError: the port cannot be listened on.
        """
        listener = gevent.socket.socket(gevent.socket.AF_INET, gevent.socket.SOCK_STREAM)
        try:
            listener.setsockopt(gevent.socket.SOL_SOCKET, gevent.socket.SO_REUSEADDR, 1)
            listener.bind((_HOST, self._port))
            listener.listen()
        except (OSError, OverflowError) as error:
            listener.close()
            raise ConfigError(f"cannot listen on {_HOST}:{self._port}: {error}") from error
        self._port = listener.getsockname()[1]
        self._server = gevent.pywsgi.WSGIServer(
            listener,
            self._application(),
            spawn=self._greenlets,
            # A log of requests would have whatever clients send; what was done is logged below.
            log=None,
            error_log=None,
        )
        self._server.start()

    def stop(self) -> None:
        """Close the port and every connection; again is fine."""
        server, self._server = self._server, None
        if server is not None:
            server.stop(timeout=0)

    def __enter__(self) -> ControlServer:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Where it listens, without a slash at the end."""
        return f"http://{_HOST}:{self._port}"

    def description(self) -> dict[str, str]:
        """What a client has to know: ``url`` and ``token``."""
        return {"url": self.url, "token": self._token.tell()}

    # --- requests --------------------------------------------------------------------------------

    def _application(self) -> flask.Flask:
        application = flask.Flask("smarkets_pool.exchange.control", static_folder=None)
        application.before_request(self._check_token)
        application.register_error_handler(Exception, _refusal)
        for path in ("/", "/<name>"):
            application.add_url_rule(
                path, view_func=self._serve, methods=["GET", "POST"], provide_automatic_options=False
            )
        return application

    def _check_token(self) -> flask.Response | None:
        # A header's text is its bytes, one for each character.
        scheme, _, token = flask.request.headers.get("Authorization", "").encode("latin-1").partition(b" ")
        # Digests, so that the time it takes says nothing about the token, nor about its length.
        if scheme.lower() == b"bearer" and hmac.compare_digest(_digest(token.strip()), self._digest):
            return None
        answer = _answer({"error": "this needs the header 'Authorization: Bearer TOKEN'"}, 401)
        answer.headers["WWW-Authenticate"] = 'Bearer realm="exchange control"'
        return answer

    def _serve(self, name: str = "") -> flask.Response:
        commands = self._control.commands
        changes = flask.request.method == "POST"
        if changes:
            arguments = _body()
        else:
            arguments = _query()
            if not name:
                return _answer({"value": [_described(command) for command in commands.values()]})
        text = "" if name else _written(arguments)
        name = name or text.split()[0]
        if name not in commands:
            return _answer({"error": f"there is no command {name!r}{near(name, commands)}"}, 404)
        kind = commands[name].kind
        if kind != "reading" and not changes:
            answer = _answer({"error": f"{name} changes something: use POST, not GET"}, 405)
            answer.headers["Allow"] = "POST"
            return answer
        value = self._control.do_text(text) if text else self._control.do(name, arguments)
        if kind != "reading":
            _log.info(None, "%s %s", kind, name)
        return _answer({"value": value})


def _described(command: Any) -> dict[str, str]:
    return {key: getattr(command, key) for key in ("name", "kind", "usage", "text")}


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()


def _query() -> dict[str, Any]:
    found = flask.request.args.to_dict(flat=False)
    for key, values in found.items():
        if len(values) > 1:
            raise UsageError(f"{key} is there {len(values)} times")
    return {key: parse_value(value) for key, (value,) in found.items()}


def _body() -> dict[str, Any]:
    text = _limited(flask.request.stream)
    if not text.strip():
        return {}
    try:
        body = json.loads(text)
    except (ValueError, RecursionError) as error:
        # Where, and not what: a body may hold anything.
        raise UsageError("the body is no JSON") from error
    if not isinstance(body, dict):
        raise UsageError('the body must be a JSON table of arguments, as in {"account": "ann"}')
    return body


def _limited(stream: IO[bytes]) -> bytes:
    """All of a body; read here, because Flask's own limit cuts one that announces no length off."""
    text = b""
    if (flask.request.content_length or 0) > MAX_BODY:
        raise werkzeug.exceptions.RequestEntityTooLarge
    try:
        while part := stream.read(MAX_BODY + 1 - len(text)):
            text += part
    except OSError as error:
        raise UsageError("the body did not arrive whole") from error
    if len(text) > MAX_BODY:
        raise werkzeug.exceptions.RequestEntityTooLarge
    return text


def _written(body: Mapping[str, Any]) -> str:
    text = body.get("command")
    if set(body) != {"command"} or not isinstance(text, str) or not text.strip():
        raise UsageError('a POST to / has one command in writing: {"command": "drop account=ann"}')
    return text


def _refusal(error: Exception) -> flask.Response:
    """The answer when a request could not be served."""
    if isinstance(error, werkzeug.exceptions.HTTPException):
        answer = _answer({"error": _STATUSES.get(error.code or 500, error.name.lower())}, error.code or 500)
        for header, value in error.get_headers():
            if header == "Allow":
                answer.headers[header] = value
        return answer
    if isinstance(error, Error):
        return _answer({"error": str(error)}, 400)
    _log.exception(None, "a request of the control failed")
    return _answer({"error": "the exchange failed to do this; its log says why"}, 500)


_STATUSES = {
    404: "there is nothing here: GET / lists every command",
    405: "only GET and POST are understood here",
    413: f"the body has more than {MAX_BODY} bytes",
}


def _answer(content: Mapping[str, Any], status: int = 200) -> flask.Response:
    answer = flask.Response(json.dumps(content) + "\n", status, mimetype="application/json")
    answer.headers["Cache-Control"] = "no-store"
    return answer
