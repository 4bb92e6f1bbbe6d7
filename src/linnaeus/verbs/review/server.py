"""The page's server: this machine only, a secret in the address, the standard library alone.

A dozen routes of JSON and pictures for one person need no framework: `ThreadingHTTPServer` adds no dependency, and all
that is decided is in `Desk`, which knows no HTTP. The secret stands in the path, so that every relative address on the
page carries it; a cookie would be sent to every other server on this machine too.
"""

from __future__ import annotations

import hmac
import json
import os
import secrets
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from linnaeus.errors import LinnaeusError, PictureError, SettingsError
from linnaeus.records import Dataset
from linnaeus.talk import Talk
from linnaeus.verbs.review.cases import Case
from linnaeus.verbs.review.desk import Desk
from linnaeus.verbs.review.pictures import Pictures

ADDRESS = "127.0.0.1"
HOSTS = frozenset({"127.0.0.1", "localhost"})
"""Names that a browser on this machine may call it by. A page elsewhere whose name is bent to 127.0.0.1 sends its own."""
MAX_BODY = 8 * 2**20
MOST_AT_ONCE = 1000
"""Cases in one page."""
IDLE_S = 60.0

STOPPED = "The review was stopped, so nothing more is saved; all decisions shown are. Start linnaeus review again."

Answer = tuple[str, bytes]
"""Media type and body."""


class Server(ThreadingHTTPServer):
    """Serve one desk.

    Args:
        desk: What is served.
        port: 0 for any that is free.

    Raises:
        SettingsError: The port is taken.
    """

    daemon_threads = True
    # On Linux this lets a port be taken again at once after a stop; it does not let two servers share one.
    allow_reuse_address = True
    # Connections that may wait to be taken. With the default of 5, one of 20 decisions sent at once was lost to a reset.
    request_queue_size = 128

    def __init__(self, desk: Desk, port: int = 0) -> None:
        self.desk, self.pictures, self.stopped = desk, Pictures(), False
        self.token = secrets.token_urlsafe(24)
        self.nonce = secrets.token_urlsafe(12)
        self.page = _page(self.nonce)
        try:
            super().__init__((ADDRESS, port), _Handler)
        except (OSError, OverflowError) as error:
            raise SettingsError(
                "--port should be a free port.", got=f"{port}: {error}", fix="leave it out, and a free one is taken."
            ) from None

    @property
    def url(self) -> str:
        """The address to open, with the secret."""
        return f"http://{ADDRESS}:{self.server_port}/{self.token}/"

    def server_close(self) -> None:
        """Stop, also for the connections that browsers keep open."""
        self.stopped = True
        super().server_close()

    def handle_error(self, request: object, client_address: object) -> None:
        """Let go of a browser that went away; anything else is a bug of ours and is shown."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


def review(
    cases: Sequence[Case],
    dataset: Dataset,
    corrections_path: Path,
    *,
    port: int = 0,
    open_browser: bool = True,
    notes: Sequence[str] = (),
    by: str | None = None,
    talk: Talk | None = None,
) -> dict[str, Any]:
    """Let a person go through findings in the browser, until Ctrl-C.

    Args:
        cases: From `cases_of`.
        dataset: As listed by its source, before corrections.
        corrections_path: The table that decisions are added to; see `corrections.default_path`.
        port: 0 for any that is free.
        open_browser: Open the page where there is a screen; its address is said in any case.
        notes: From `notes_of`, shown above the pictures.
        by: Who decides; the user's name by default.
        talk: Where words go.

    Returns:
        {"corrections": path, "kinds": [{"kind", "total", "decided", "set"}]} as it stood at the end.

    Raises:
        SettingsError: The port is taken, or the table cannot be written.
        SourceError: There is something else at `corrections_path`.
    """
    talk = talk or Talk()
    _check_writable(corrections_path)
    desk = Desk(cases, dataset, corrections_path, by=by, notes=notes)
    with Server(desk, port) as server:
        talk.say(f"{len(desk.cases):,} findings to look at: {server.url}")
        talk.say(f"every decision is kept in {corrections_path} at once; stop with Ctrl-C")
        if open_browser and _has_screen():
            threading.Thread(target=webbrowser.open, args=(server.url,), daemon=True).start()
        try:
            server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            talk.say("stopped.")
    overview = desk.overview()
    return {"corrections": str(corrections_path), "kinds": overview["kinds"]}


class _Handler(BaseHTTPRequestHandler):
    """Answer one connection of a browser."""

    server: Server
    protocol_version = "HTTP/1.1"
    server_version = "linnaeus"
    sys_version = ""
    timeout = IDLE_S

    def setup(self) -> None:
        super().setup()
        # Small answers in two packets would wait for each other's acknowledgement.
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def _answer(self, method: str) -> None:
        self._status, self._sent = HTTPStatus.OK, False
        try:
            kind, body = self._route(method)
        except _Refused as refusal:
            self._status, (kind, body) = refusal.status, _json({"error": str(refusal)})
            # What is left of the request was not read.
            self.close_connection = True
        except PictureError as error:
            self._status, (kind, body) = HTTPStatus.NOT_FOUND, _json({"error": str(error)})
        except LinnaeusError as error:
            self._status, (kind, body) = HTTPStatus.BAD_REQUEST, _json({"error": str(error)})
        except OSError as error:
            words = f"nothing was saved: {error.strerror or error}"
            self._status, (kind, body) = HTTPStatus.INSUFFICIENT_STORAGE, _json({"error": words})
        self._send(kind, body)

    def _route(self, method: str) -> Answer:
        """Check who asks, then find out what for."""
        if self.server.stopped:
            raise _Refused(HTTPStatus.SERVICE_UNAVAILABLE, STOPPED)
        if self._name_called() not in HOSTS:
            raise _Refused(HTTPStatus.FORBIDDEN, "this page is for this machine only")
        _, token, *rest = urlsplit(self.path).path.split("/")
        if not rest or not hmac.compare_digest(token.encode(), self.server.token.encode()):
            raise _Refused(HTTPStatus.FORBIDDEN, "open the address that linnaeus review printed, with its secret")
        route = _ROUTES.get((method, rest[0]))
        if route is None:
            raise _Refused(HTTPStatus.NOT_FOUND, "there is nothing here")
        if method == "POST":
            return route(self.server, self._body())
        query = parse_qs(urlsplit(self.path).query, keep_blank_values=True)
        return route(self.server, {name: values[-1] for name, values in query.items()})

    def _name_called(self) -> str:
        return self.headers.get("Host", "").rpartition(":")[0] or self.headers.get("Host", "")

    def _body(self) -> dict[str, Any]:
        """Read what was posted; a form of another page can send neither this type nor this origin."""
        origin = self.headers.get("Origin")
        if origin is not None and origin != f"http://{self.headers.get('Host')}":
            raise _Refused(HTTPStatus.FORBIDDEN, "this came from another page")
        if self.headers.get_content_type() != "application/json":
            raise _Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send application/json")
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            raise _Refused(HTTPStatus.LENGTH_REQUIRED, "say how long it is")
        if int(length) > MAX_BODY:
            raise _Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {MAX_BODY} bytes")
        data = self.rfile.read(int(length))
        try:
            body = json.loads(data)
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise _Refused(HTTPStatus.BAD_REQUEST, "send one JSON object")
        return body

    def _send(self, kind: str, body: bytes) -> None:
        self.send_response(self._status)
        picture = kind.startswith("image/")
        headers = {
            "Content-Type": kind,
            "Content-Length": str(len(body)),
            "Cache-Control": "private, max-age=600" if picture else "no-store",
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Content-Security-Policy": (
                f"default-src 'none'; script-src 'nonce-{self.server.nonce}'; style-src 'nonce-{self.server.nonce}'; "
                "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
            ),
        }
        if self.close_connection:
            headers["Connection"] = "close"
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Stay silent: the address is a secret."""


class _Refused(Exception):
    def __init__(self, status: HTTPStatus, words: str) -> None:
        super().__init__(words)
        self.status = status


def _show_page(server: Server, asked: dict[str, Any]) -> Answer:
    return "text/html; charset=utf-8", server.page


def _overview(server: Server, asked: dict[str, Any]) -> Answer:
    return _json(server.desk.overview())


def _view(server: Server, asked: dict[str, Any]) -> Answer:
    names = ("kind", "label", "state", "order")
    return _json(server.desk.view(**{name: str(asked[name]) for name in names if name in asked}))


def _cases(server: Server, asked: dict[str, Any]) -> Answer:
    where = [_number(asked, name) for name in ("view", "start", "count")]
    return _json({"cases": server.desk.page(where[0], where[1], min(where[2], MOST_AT_ONCE))})


def _numbers(server: Server, asked: dict[str, Any]) -> Answer:
    return _json({"numbers": server.desk.numbers(*(_number(asked, name) for name in ("view", "start", "count")))})


def _set(server: Server, asked: dict[str, Any]) -> Answer:
    return _json({"cases": server.desk.cluster(_number(asked, "n"))[:MOST_AT_ONCE]})


def _picture(server: Server, asked: dict[str, Any]) -> Answer:
    return server.pictures.get(server.desk.place(_number(asked, "n")), full="full" in asked)


def _decide(server: Server, asked: dict[str, Any]) -> Answer:
    add_class = asked.get("add_class") is True
    action, new_label = str(asked.get("action", "")), str(asked.get("new_label", ""))
    return _json(server.desk.decide(_chosen(asked), action, new_label, add_class=add_class))


def _accept(server: Server, asked: dict[str, Any]) -> Answer:
    return _json(server.desk.accept(_chosen(asked)))


def _keep_only(server: Server, asked: dict[str, Any]) -> Answer:
    return _json(server.desk.keep_only(_number(asked, "n")))


def _take_back(server: Server, asked: dict[str, Any]) -> Answer:
    return _json(server.desk.take_back(_chosen(asked)))


def _undo(server: Server, asked: dict[str, Any]) -> Answer:
    return _json(server.desk.undo())


_ROUTES: dict[tuple[str, str], Callable[[Server, dict[str, Any]], Answer]] = {
    ("GET", ""): _show_page,
    ("GET", "overview"): _overview,
    ("GET", "view"): _view,
    ("GET", "cases"): _cases,
    ("GET", "numbers"): _numbers,
    ("GET", "set"): _set,
    ("GET", "picture"): _picture,
    ("POST", "decide"): _decide,
    ("POST", "accept"): _accept,
    ("POST", "keep-only"): _keep_only,
    ("POST", "take-back"): _take_back,
    ("POST", "undo"): _undo,
}


def _json(document: object) -> Answer:
    return "application/json", json.dumps(document).encode()


def _number(asked: dict[str, Any], name: str) -> int:
    try:
        return int(asked.get(name, ""))
    except (TypeError, ValueError):
        raise _Refused(HTTPStatus.BAD_REQUEST, f"{name} should be a number") from None


def _chosen(asked: dict[str, Any]) -> list[int]:
    numbers = asked.get("numbers")
    if not isinstance(numbers, list) or not all(type(n) is int for n in numbers):
        raise _Refused(HTTPStatus.BAD_REQUEST, "numbers should be a list of numbers")
    return numbers


def _check_writable(path: Path) -> None:
    """Say at once, not at the first decision, that nothing can be kept."""
    target = path if path.exists() else path.parent
    if not os.access(target, os.W_OK):
        raise SettingsError(
            f"{path} should be a file that can be written.",
            got="no such folder" if not path.parent.is_dir() else "no permission",
            fix="name another one with --out FILE, and give it to train as --corrections FILE.",
        )


def _has_screen() -> bool:
    """Tell whether a browser would have a window; a text browser would take the terminal away."""
    return sys.platform in ("darwin", "win32") or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    )


def _page(nonce: str) -> bytes:
    """Put the page, its style and its script into one document."""
    folder = Path(__file__).parent

    def text(name: str) -> str:
        return (folder / name).read_text(encoding="utf-8")

    page = text("page.html").replace("{nonce}", nonce).replace("/* style */", text("page.css"))
    # One script in this order: what stands at the top level of a later one uses the earlier ones.
    script = "".join(map(text, ("grid.js", "page.js", "dialogs.js", "keys.js")))
    return page.replace("/* script */", script).encode()
