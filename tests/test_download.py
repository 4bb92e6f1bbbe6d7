import errno
import hashlib
import os
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from linnaeus.data.download import fetch
from linnaeus.errors import DownloadError

DATA = bytes(range(256)) * 4000
DIGEST = f"sha256:{hashlib.sha256(DATA).hexdigest()}"


class Server(ThreadingHTTPServer):
    """Sends `data`; drops the connection after `drop_after` bytes of each of the next `drops` answers."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.data, self.ranges, self.tag = DATA, True, '"one"'
        self.drops, self.drop_after, self.errors = 0, 300_000, []
        self.asked: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/a.tgz"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self):
        server, wanted = self.server, self.headers.get("Range")
        server.asked.append(wanted)
        if server.errors:
            return self.send_error(server.errors.pop(0))
        fresh = self.headers.get("If-Range", server.tag) == server.tag
        start = int(re.findall(r"\d+", wanted)[0]) if wanted and server.ranges and fresh else 0
        if start >= len(server.data):
            return self.send_error(416)
        body = server.data[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", server.tag)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(server.data) - 1}/{len(server.data)}")
        self.end_headers()
        if server.drops:
            server.drops -= 1
            body = body[: server.drop_after]
        self.wfile.write(body)
        return None

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def get(server: Server, folder: Path, **options) -> Path:
    options = {"digest": DIGEST, "size": len(DATA), "wait_s": 0, **options}
    return fetch(server.url, folder / "deep/a.tgz", **options)


def test_a_file_arrives_whole_with_progress_and_nothing_beside_it(server, tmp_path):
    told = []
    path = get(server, tmp_path, progress=lambda *step: told.append(step))
    assert path.read_bytes() == DATA
    assert told[-1] == ("downloading a.tgz", len(DATA), len(DATA))
    assert [entry.name for entry in path.parent.iterdir()] == ["a.tgz"]


def test_what_is_there_is_not_fetched_again(server, tmp_path):
    get(server, tmp_path)
    get(server, tmp_path)
    assert len(server.asked) == 1


def test_a_dropped_connection_is_taken_up_where_it_ended(server, tmp_path):
    server.drops = 3
    assert get(server, tmp_path).read_bytes() == DATA
    assert server.asked == [None, "bytes=300000-", "bytes=600000-", "bytes=900000-"]


def test_the_next_run_takes_up_what_an_earlier_one_left(server, tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/a.tgz.part").write_bytes(DATA[:1000])
    assert get(server, tmp_path).read_bytes() == DATA
    assert server.asked == ["bytes=1000-"]


def test_a_server_without_ranges_sends_all_of_it_again(server, tmp_path):
    server.ranges, server.drops = False, 1
    assert get(server, tmp_path).read_bytes() == DATA
    assert server.asked == [None, "bytes=300000-"]


def test_a_server_without_ranges_that_always_drops_is_given_up(server, tmp_path):
    server.ranges, server.drops = False, 1000
    with pytest.raises(DownloadError, match="cannot be fetched"):
        get(server, tmp_path, retries=3)
    assert len(server.asked) == 5


def test_a_part_of_another_version_is_dropped_and_all_fetched_anew(server, tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/a.tgz.part").write_bytes(b"x" * 1000)
    assert get(server, tmp_path).read_bytes() == DATA
    assert server.asked == ["bytes=1000-", None]


def test_a_part_that_is_too_long_is_started_again(server, tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/a.tgz.part").write_bytes(DATA + b"x")
    assert get(server, tmp_path, size=None).read_bytes() == DATA


def test_a_small_file_is_complete_before_its_checksum_is_taken(server, tmp_path):
    server.data = b"small"
    digest = f"sha256:{hashlib.sha256(server.data).hexdigest()}"
    assert get(server, tmp_path, digest=digest, size=5).read_bytes() == b"small"


def test_a_wrong_checksum_is_refused_and_leaves_nothing(server, tmp_path):
    server.data = DATA[:-1] + b"!"
    with pytest.raises(DownloadError, match="should have the checksum sha256:"):
        get(server, tmp_path)
    assert not list((tmp_path / "deep").iterdir())


def test_an_md5_is_checked_as_well(server, tmp_path):
    assert get(server, tmp_path, digest=f"md5:{hashlib.md5(DATA).hexdigest()}").exists()
    with pytest.raises(DownloadError, match="md5:"):
        get(server, tmp_path / "other", digest="md5:" + "0" * 32)


def test_a_busy_server_is_asked_again(server, tmp_path):
    server.errors = [503, 429]
    assert get(server, tmp_path).read_bytes() == DATA


def test_a_file_that_is_not_there_is_an_error_at_once(server, tmp_path):
    server.errors = [404] * 9
    with pytest.raises(DownloadError) as error:
        get(server, tmp_path)
    assert "404" in error.value.got
    assert len(server.asked) == 1


def test_without_a_server_the_reason_is_told(server, tmp_path):
    server.shutdown()
    server.server_close()
    with pytest.raises(DownloadError) as error:
        get(server, tmp_path)
    assert "refused" in error.value.got.lower()


def test_two_at_once_fetch_it_once(server, tmp_path):
    work = [threading.Thread(target=get, args=(server, tmp_path)) for _ in range(4)]
    for thread in work:
        thread.start()
    for thread in work:
        thread.join()
    assert (tmp_path / "deep/a.tgz").read_bytes() == DATA
    assert len(server.asked) == 1


@pytest.fixture(params=[errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def without_locks(request, monkeypatch):
    """Answer as a network drive without locks does."""

    def refuse(*_):
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(pytest.importorskip("fcntl"), "flock", refuse)


def test_without_locks_a_file_arrives_whole(server, tmp_path, without_locks):
    told = []
    server.drops = 1
    path = get(server, tmp_path, progress=lambda *step: told.append(step))
    assert path.read_bytes() == DATA
    assert told[-1] == ("downloading a.tgz", len(DATA), len(DATA))
    assert [entry.name for entry in path.parent.iterdir()] == ["a.tgz"]


def test_without_locks_the_part_of_another_process_is_left_alone(server, tmp_path, without_locks):
    other = tmp_path / "deep/a.tgz.part"
    other.parent.mkdir()
    other.write_bytes(b"x" * 1000)
    server.data = DATA[:-1] + b"!"
    with pytest.raises(DownloadError, match="should have the checksum"):
        get(server, tmp_path)
    assert other.read_bytes() == b"x" * 1000
    assert list(other.parent.iterdir()) == [other]


def test_other_schemes_are_refused(tmp_path):
    with pytest.raises(DownloadError, match="https"):
        fetch("file:///etc/hostname", tmp_path / "a", digest=DIGEST)
