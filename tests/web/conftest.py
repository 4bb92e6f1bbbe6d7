"""The page in headless Chromium, opened as a file; it is written once."""

from contextlib import contextmanager

import pytest

from linnaeus.errors import ModelError
from linnaeus.targets.graph import Graph
from linnaeus.targets.target import Blueprint
from linnaeus.targets.web import Web, runner, target
from made_page import PHOTOGRAPHS, make_classifier, write_kinds
from web.page_actions import classified


@pytest.fixture(scope="session")
def kinds(tmp_path_factory):
    """Files of all kinds, by name."""
    return write_kinds(tmp_path_factory.mktemp("kinds"))


@pytest.fixture(scope="session")
def model(kinds):
    """A small network that has learned nothing, but answers pictures differently, and knows strange ones."""
    return make_classifier([*PHOTOGRAPHS, *kinds.values()])


@contextmanager
def runtime_kept_here():
    """The runtime for the browser is kept on this machine: the first run of these tests fetches it, and no other."""
    # TensorFlow is loaded the way that lets PyTorch's compiler be loaded after it.
    for name in ("linnaeus.targets.tensorflow_ops.library", *Web.needs):
        pytest.importorskip(name, exc_type=ImportError)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("LINNAEUS_CACHE")
        try:
            target.runtime("float32")
        except ModelError as error:
            pytest.skip(f"no runtime for the browser: {error.got}")
        yield


@pytest.fixture
def kept_runtime():
    with runtime_kept_here():
        yield


@pytest.fixture(scope="session")
def blueprint(model, tmp_path_factory):
    return Blueprint(Graph(model), tmp_path_factory.mktemp("scratch"))


@pytest.fixture(scope="session")
def exported(blueprint, tmp_path_factory):
    """The page, as the target writes it."""
    with runtime_kept_here():
        return Web().write(blueprint, tmp_path_factory.mktemp("export"))


@pytest.fixture(scope="module")
def chromium():
    """Chromium with a camera that shows a test picture."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = runner.find_browser()
    if found is None:
        pytest.skip("no Chromium on this machine")
    with api.sync_playwright() as play:
        yield play.chromium.launch(executable_path=found, args=["--use-fake-device-for-media-stream"])


@pytest.fixture
def show(chromium):
    """Open a page and fail on anything that the browser complains of or that leaves the page: show(uri, locale="zh-CN")."""
    complaints, contexts = [], []

    def open_it(path, **options):
        context = chromium.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: complaints.append(request.url) if not local(request.url, path) else None)
        page.goto(path.as_uri())
        return page

    def local(url, path):
        return url == path.as_uri() or url.startswith("blob:")

    yield open_it
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture(scope="module")
def seen(chromium, exported, kinds):
    """What the page says of each of `kinds`, with the pixels that the network saw."""
    opened = chromium.new_page()
    opened.goto((exported / "index.html").as_uri())
    yield {name: classified(opened, path) for name, path in kinds.items()}
    opened.close()


@pytest.fixture
def page(show, exported):
    opened = show(exported / "index.html", viewport={"width": 1100, "height": 900})
    opened.evaluate("linnaeus.ready")
    return opened
