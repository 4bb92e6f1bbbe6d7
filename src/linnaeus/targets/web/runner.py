"""Run the page in a browser without a window: so that what is proved is the page itself."""

from __future__ import annotations

import base64
import importlib.util
import shutil
import sys
import threading
import weakref
from concurrent.futures import Future
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np

from linnaeus.errors import ModelError
from linnaeus.targets.card import FEATURES, PROBABILITIES, UNKNOWN_SCORE, Card
from linnaeus.targets.web.page import read_card

Task = tuple[np.ndarray, "Future[list[dict[str, Any]]]"]

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
MAC = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")
OPENING_MS = 120_000
AT_ONCE = 8
"""Pictures sent to the page together: they travel as text."""

ASK = """async ([text, size]) => {
    const bytes = atob(text), pixels = new Uint8Array(bytes.length), answers = [];
    for (let at = 0; at < bytes.length; at++) pixels[at] = bytes.charCodeAt(at);
    for (let at = 0; at < pixels.length; at += size) {
        answers.push(await linnaeus.classify(pixels.subarray(at, at + size)));
    }
    return answers;
}"""


def find_browser() -> str | None:
    """Find a browser of the Chromium family; None if there is none."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found:
        return found
    homes = (Path.home() / ".cache", Path.home() / "Library" / "Caches", Path.home() / "AppData" / "Local")
    names = ("chrome", "headless_shell", "chrome-headless-shell", "Chromium", "chrome.exe")
    for home in homes:
        # Where playwright keeps its own.
        kept = [path for name in names for path in (home / "ms-playwright").glob(f"chromium*/*/**/{name}")]
        if programs := sorted(path for path in kept if path.is_file()):
            return str(programs[-1])
    return str(MAC) if sys.platform == "darwin" and MAC.is_file() else None


def why_no_browser() -> str:
    """Say what is missing to run the page here; "" if nothing is."""
    if importlib.util.find_spec("playwright") is None:
        return "running it takes playwright and Chromium: pip install playwright"
    if find_browser() is None:
        return "running it takes Chromium or Chrome: playwright install chromium"
    return ""


class WebRunner:
    """A page, open in a browser of its own. Calls from several threads wait for each other: a page has one thread.

    Args:
        path: The page.

    Raises:
        ModelError: It is another program's, or does not load.
    """

    def __init__(self, path: Path) -> None:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ModelError(f"{path} should be a page.", got=str(error)[:300]) from None
        self.card: Card = read_card(text, str(path))
        self._tasks: SimpleQueue[Task | None] = SimpleQueue()
        opened: Future[None] = Future()
        # The thread must not hold the runner: when nobody else does, the browser is closed.
        uri = path.resolve().as_uri()
        threading.Thread(target=_serve, args=(uri, self._tasks, opened), name="web page", daemon=True).start()
        self._close = weakref.finalize(self, self._tasks.put, None)
        try:
            opened.result()
        except Exception as error:
            raise ModelError(f"{path} should be a page that runs here.", got=_told(error)) from None

    def run(self, pictures: np.ndarray) -> dict[str, np.ndarray]:
        """Answer pictures."""
        parts = [self._ask(pictures[first : first + AT_ONCE]) for first in range(0, len(pictures), AT_ONCE)]
        answers = [one for part in parts for one in part]
        K = len(self.card.classes)
        read = {
            PROBABILITIES: lambda: np.array([one["probabilities"] for one in answers], np.float32).reshape(-1, K),
            UNKNOWN_SCORE: lambda: np.array([one["unknownScore"] for one in answers], np.float32),
            FEATURES: lambda: np.array([one["features"] for one in answers], np.float32),
        }
        return {name: read[name]() for name in self.card.outputs}

    def _ask(self, pictures: np.ndarray) -> list[dict[str, Any]]:
        answers: Future[list[dict[str, Any]]] = Future()
        colours = np.repeat(pictures, 3, axis=-1) if pictures.shape[-1] == 1 else pictures
        self._tasks.put((np.ascontiguousarray(colours), answers))
        return answers.result()


def _serve(uri: str, tasks: SimpleQueue[Task | None], opened: Future[None]) -> None:
    """Keep a page open and answer what comes, until None comes. Playwright wants one thread for all of it."""
    from playwright.sync_api import sync_playwright

    try:
        with sync_playwright() as play:
            browser = play.chromium.launch(executable_path=find_browser())
            page = browser.new_page()
            page.goto(uri, timeout=OPENING_MS)
            page.evaluate("linnaeus.ready")
            opened.set_result(None)
            while (task := tasks.get()) is not None:
                _answer(page, *task)
            browser.close()
    except Exception as error:
        if not opened.done():
            opened.set_exception(error)


def _answer(page: Any, pictures: np.ndarray, answers: Future[list[dict[str, Any]]]) -> None:
    try:
        text = base64.b64encode(pictures.tobytes()).decode()
        answers.set_result(page.evaluate(ASK, [text, pictures[0].size]))
    except Exception as error:
        answers.set_exception(ModelError("the page should answer.", got=_told(error)))


def _told(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
