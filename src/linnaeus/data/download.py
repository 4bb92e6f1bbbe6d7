"""Fetch a file over http, so that it is whole and the promised one, or not there."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import http.client
import os
import re
import ssl
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from linnaeus.data.folders import Progress
from linnaeus.errors import DownloadError

try:
    import fcntl
except ImportError:  # Windows has no flock: there two downloads of one file at once fetch it twice
    fcntl = None  # type: ignore[assignment]

_CHUNK = 1 << 18
_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP}
"""What network drives without locks answer."""
_DROPPED = (urllib.error.URLError, TimeoutError, ConnectionError, ssl.SSLError, http.client.HTTPException)


class _Part:
    """What has arrived of a file, open for more; `validator` says which version of the file it is."""

    def __init__(self, path: Path) -> None:
        self.name, self.file, self.validator = path.stem, _open_locked(path), ""
        self.path = Path(self.file.name)
        self.shared = self.path == path
        self.kept = self.size = self.file.seek(0, os.SEEK_END)

    def __enter__(self) -> _Part:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        if not self.shared:
            # Under this name no later run would look for it.
            self.path.unlink(missing_ok=True)

    def start_again(self) -> None:
        self.file.truncate(0)
        self.kept = self.size = 0

    def add(self, chunk: bytes) -> None:
        try:
            self.file.write(chunk)
        except OSError as error:
            raise DownloadError(f"{self.path} cannot be written.", got=error.strerror or "", fix="make room.") from None
        self.size += len(chunk)


@dataclass(frozen=True)
class _Patience:
    retries: int
    wait_s: float
    timeout_s: float


def fetch(
    url: str,
    path: Path,
    *,
    digest: str,
    size: int | None = None,
    progress: Progress | None = None,
    retries: int = 4,
    wait_s: float = 1.0,
    timeout_s: float = 30.0,
) -> Path:
    """Download a file to `path`, unless it is there.

    What arrived is kept in `path`.part, so that the next attempt, or the next run, asks only for the rest; a server
    that cannot do that sends all of it again. Where the file system has no locks, each process has a part of its own,
    which it does not keep. The file appears under its name after its checksum was right.

    Args:
        url: http or https.
        path: Where to put it.
        digest: "sha256:..." or "md5:...", in hexadecimal.
        size: Bytes, where known.
        progress: Told after each chunk.
        retries: Further attempts after a dropped connection; an attempt that brought bytes does not count.
        wait_s: Pause before the second attempt; it doubles each time.
        timeout_s: Longest silence of the server.

    Raises:
        DownloadError: It could not be fetched, or is not what was promised.
    """
    if not url.lower().startswith(("http://", "https://")):
        raise DownloadError(f"{url} should start with https:// or http://.")
    path.parent.mkdir(parents=True, exist_ok=True)
    patience = _Patience(retries, wait_s, timeout_s)
    resumed = True
    while resumed:
        with _Part(path.with_name(path.name + ".part")) as part:
            if path.exists():
                part.path.unlink(missing_ok=True)
                return path
            _fill(url, part, size, progress, patience)
            part.file.flush()
            got, resumed = file_digest(part.path, digest), part.kept > 0
            if got == digest:
                if fcntl is None:
                    part.file.close()
                os.replace(part.path, path)
                return path
            part.start_again()
    part.path.unlink(missing_ok=True)
    raise DownloadError(
        f"{url} should have the checksum {digest}.", got=got, fix="try again later; the file may have been replaced."
    )


def file_digest(path: Path, like: str) -> str:
    """Compute a file's checksum in the form of another one: "sha256:..." or "md5:..."."""
    method = like.partition(":")[0]
    with path.open("rb") as file:
        return f"{method}:{hashlib.file_digest(file, method).hexdigest()}"


def _fill(url: str, part: _Part, size: int | None, progress: Progress | None, patience: _Patience) -> None:
    """Add to the part until it is complete; give up after some attempts that brought nothing new."""
    farthest, failures, reached = part.size, 0, False
    while True:
        try:
            if _request(url, part, size, progress, patience.timeout_s):
                return
            reached, reason = True, "the connection ended early"
        except urllib.error.HTTPError as error:
            error.close()
            reached, reason = True, f"HTTP {error.code} {error.reason}"
            if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
                part.start_again()
            elif error.code < 500 and error.code not in (408, 429):
                raise DownloadError(f"{url} cannot be fetched.", got=reason) from None
        except _DROPPED as error:
            reached, reason = reached or part.size > 0, str(getattr(error, "reason", error)) or type(error).__name__
        failures = 0 if part.size > farthest else failures + 1
        farthest = max(farthest, part.size)
        # Without internet nobody wants to wait for all the attempts.
        if failures > (patience.retries if reached else min(1, patience.retries)):
            raise DownloadError(f"{url} cannot be fetched.", got=reason)
        time.sleep(patience.wait_s * 2 ** max(0, failures - 1))


def _request(url: str, part: _Part, size: int | None, progress: Progress | None, timeout_s: float) -> bool:
    """Ask for what is missing, and add it; False if the connection ended before all of it was there."""
    if size is not None and part.size > size:
        part.start_again()
    if part.size == size:
        return True
    headers = {"User-Agent": "linnaeus"}
    if part.size:
        headers["Range"] = f"bytes={part.size}-"
        if part.validator:
            headers["If-Range"] = part.validator
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=timeout_s) as response:
        start = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
        if response.status != http.client.PARTIAL_CONTENT or not start or int(start[1]) != part.size:
            part.start_again()
        tag = response.headers.get("ETag", "")
        part.validator = tag if tag.startswith('"') else response.headers.get("Last-Modified", "")
        length = response.headers.get("Content-Length")
        total = part.size + int(length) if length else size
        while chunk := response.read(_CHUNK):
            part.add(chunk)
            if progress:
                progress(f"downloading {part.name}", part.size, total)
    return total is None or part.size == total


def _open_locked(path: Path) -> IO[bytes]:
    """Open a file for appending that no other process is writing, waiting for it if need be.

    Where files cannot be locked, it is one of this process alone, under another name.
    """
    while True:
        file = path.open("ab")
        if fcntl is None:
            return file
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            file.close()
            if error.errno not in _NO_LOCKS:
                raise
            with contextlib.suppress(FileNotFoundError):
                if not path.stat().st_size:
                    path.unlink()
            return path.with_name(f"{path.stem}.{os.getpid()}.part").open("ab")
        # The other process may have renamed or removed the file while this one waited.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        file.close()
