"""The page in headless Chromium, opened as a file: PyTorch's answers on the same files, and everything a user does."""

import base64
import csv
import io
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from linnaeus.classifier import Classifier
from linnaeus.errors import ModelError
from linnaeus.records import Preprocessing
from linnaeus.tables import write_table
from linnaeus.targets.card import Card
from linnaeus.targets.graph import Graph
from linnaeus.targets.target import Blueprint, Precision
from linnaeus.targets.web import Web, runner, target
from linnaeus.targets.web.page import Runtime, read_card, rules_of, write_page
from linnaeus.verbs.predict import predict
from made_page import CLASSES, PHOTOGRAPHS, SIZE, make_classifier, picture, write_kinds

# One worker runs all of them: the page is written once.
pytestmark = [pytest.mark.runtimes, pytest.mark.xdist_group("web")]
NO_RUNTIME = Runtime("none", {"plain": ('var ModuleFactory = () => { throw new Error("no runtime"); };', b"")})


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    """Files of all kinds, by name."""
    return write_kinds(tmp_path_factory.mktemp("kinds"))


@pytest.fixture(scope="module")
def model(kinds):
    """A small network that has learned nothing, but answers pictures differently, and knows strange ones."""
    return make_classifier([*PHOTOGRAPHS, *kinds.values()])


@pytest.fixture(scope="module")
def kept_runtime():
    """The runtime for the browser is kept on this machine: the first run of these tests fetches it, and no other."""
    for name in Web.needs:
        pytest.importorskip(name)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("LINNAEUS_CACHE")
        try:
            target.runtime("float32")
        except ModelError as error:
            pytest.skip(f"no runtime for the browser: {error.got}")
        yield


@pytest.fixture(scope="module")
def blueprint(model, tmp_path_factory):
    return Blueprint(Graph(model), tmp_path_factory.mktemp("scratch"))


@pytest.fixture(scope="module")
def exported(blueprint, kept_runtime, tmp_path_factory):
    """The page, as the target writes it."""
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


def sent(path):
    return base64.b64encode(path.read_bytes()).decode()


def classified(page, path):
    """Ask the page's model of a file: what it says, with the pixels that the network saw."""
    return page.evaluate(
        """async (text) => {
            const blob = new Blob([Uint8Array.from(atob(text), (one) => one.charCodeAt(0))]);
            const found = await linnaeus.classify(blob);
            return {...found, pixels: Array.from(await linnaeus.prepared(blob))};
        }""",
        sent(path),
    )


def give(page, *paths):
    """Choose files with the button, and wait for their rows."""
    before = page.locator("#rows tr").count()
    page.set_input_files("#files", [str(path) for path in paths])
    page.locator("#rows tr").nth(before + len(paths) - 1).wait_for()


def drop(page, event, *paths):
    """Drop or paste files on the page."""
    page.evaluate(
        """([event, files]) => {
            const transfer = new DataTransfer();
            for (const [name, text] of files) {
                transfer.items.add(new File([Uint8Array.from(atob(text), (one) => one.charCodeAt(0))], name));
            }
            const made = event === "paste" ? new ClipboardEvent(event, {clipboardData: transfer})
                : new DragEvent(event, {dataTransfer: transfer, bubbles: true, cancelable: true});
            document.querySelector("#drop").dispatchEvent(made);
            dispatchEvent(made);
        }""",
        [event, [[path.name, sent(path)] for path in paths]],
    )


# The same answers.


@pytest.mark.skipif(not PHOTOGRAPHS, reason="shared/data/flowers is not here")
def test_photographs_get_the_answers_that_pytorch_gives(page, model):
    wanted = model.predict_proba([str(path) for path in PHOTOGRAPHS])
    got = np.array([classified(page, path)["probabilities"] for path in PHOTOGRAPHS])
    assert len(PHOTOGRAPHS) >= 30
    assert len(set(wanted.argmax(1))) > 2
    # The same JPEG library decodes here; a browser with another one may differ by a grey level, and so by some 1e-3.
    assert np.abs(got - wanted).max() < 5e-3
    assert (got.argmax(1) == wanted.argmax(1)).all()


def test_files_of_every_kind_get_the_answers_that_pytorch_gives(seen, model, kinds):
    for name, path in kinds.items():
        wanted, got = model.predict_proba(str(path))[0], seen[name]
        # JPEGs above 0.7 megapixels are decoded at a smaller scale by PyTorch's side, and in full by the page.
        allowed = 3e-2 if name == "large.jpg" else 5e-3 if name.endswith(".jpg") else 1e-3
        assert np.abs(np.array(got["probabilities"]) - wanted).max() < allowed, name
        assert got["predicted"] == CLASSES[wanted.argmax()], name


def test_the_network_sees_the_pixels_that_it_sees_in_training(seen, model, kinds):
    for name, path in kinds.items():
        wanted = model.read(path.read_bytes()).astype(int)
        gap = np.abs(np.array(seen[name]["pixels"]).reshape(SIZE, SIZE, 3) - wanted)
        # A canvas blends half-transparent pixels with its own rounding.
        allowed = 2 if "clear" in name else 1 if name.endswith(".jpg") else 0
        assert gap.mean() < 1 if name == "large.jpg" else gap.max() <= allowed, f"{name} {gap.mean()} {gap.max()}"


@pytest.mark.parametrize(
    "about",
    [
        Preprocessing(50, "crop", 60, "bilinear"),
        Preprocessing(50, "squash", interpolation="bilinear"),
        Preprocessing(51, "pad", interpolation="bicubic", background=(10, 200, 99)),
        Preprocessing(50, "crop", 57, "nearest"),
        Preprocessing(51, "pad", channels=1, mean=(0.5,), std=(0.5,), background=(10, 200, 99)),
    ],
    ids=lambda about: f"{about.resize} {about.interpolation} {about.channels}",
)
def test_every_way_of_resizing_gives_the_same_pixels(show, kinds, tmp_path, about):
    path = tmp_path / "page.html"
    path.write_text(write_page(Card(("a", "b"), about), b"", NO_RUNTIME, "0"), encoding="utf-8")
    opened = show(path)
    for name in ("plain.png", "wide.png", "tall.png", "tiny.png", "dot.png", "palette.png", "turned-6.png"):
        prepared = "async (x) => Array.from(await linnaeus.prepared(new Blob([Uint8Array.from(atob(x), (c) => c.charCodeAt(0))])))"
        got = np.array(opened.evaluate(prepared, sent(kinds[name]))).reshape(about.size_px, about.size_px, 3)
        wanted = reader(about).read(kinds[name].read_bytes())
        assert (got == wanted).all(), name


def reader(about):
    return Classifier(nn.Flatten(), "none", ("a", "b"), about)


def test_pixels_canvases_and_bitmaps_can_be_given_too(page, kinds):
    answers = page.evaluate(
        """async (text) => {
            const bitmap = await createImageBitmap(new Blob([Uint8Array.from(atob(text), (one) => one.charCodeAt(0))]));
            const canvas = new OffscreenCanvas(bitmap.width, bitmap.height), context = canvas.getContext("2d");
            context.drawImage(bitmap, 0, 0);
            const pixels = context.getImageData(0, 0, bitmap.width, bitmap.height);
            const given = [bitmap, canvas, pixels, await linnaeus.prepared(bitmap)];
            return (await Promise.all(given.map((one) => linnaeus.classify(one)))).map((one) => one.confidence);
        }""",
        sent(kinds["plain.png"]),
    )
    assert len(set(answers)) == 1


def test_another_page_asks_it_in_a_frame(chromium, exported, kinds, tmp_path):
    (tmp_path / "index.html").write_bytes((exported / "index.html").read_bytes())
    (tmp_path / "host.html").write_text(
        '<input type="file" id="mine"><iframe id="model" src="index.html" hidden></iframe>'
    )
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    opened = chromium.new_page()
    opened.goto(f"http://127.0.0.1:{server.server_port}/host.html")
    opened.set_input_files("#mine", str(kinds["plain.png"]))
    ask = "document.querySelector('#model').contentWindow.linnaeus.classify(document.querySelector('#mine').files[0])"
    assert opened.evaluate(ask)["predicted"] in CLASSES
    opened.close()
    server.shutdown()
    server.server_close()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_words):
        pass


def test_the_table_is_the_one_that_predict_writes(page, model, kinds, tmp_path, read_csv):
    names = ["plain.png", "wide.png", "tall.png", "grey.png", "plain.bmp", "tiny.png", "fits.png", "large.png"]
    paths = [kinds[name] for name in names]
    give(page, *paths)
    with page.expect_download() as download:
        page.click("#save")
    got = list(csv.reader(io.StringIO(Path(download.value.path()).read_text(encoding="utf-8"))))
    (answers,) = predict(model, [str(path) for path in paths])
    write_table(tmp_path / "wanted.csv", answers.columns())
    wanted = read_csv(tmp_path / "wanted.csv")
    assert download.value.suggested_filename == "answers.csv"
    assert got[0] == list(wanted[0])
    assert {row["unknown"] for row in wanted} == {row["accepted"] for row in wanted} == {"true", "false"}
    assert len({row["set"].count("|") for row in wanted}) > 1
    for row, right in zip(got[1:], wanted, strict=True):
        for column, value, fitting in zip(got[0], row, right.values(), strict=True):
            if column == "path":
                assert value == Path(fitting).name
            elif column.startswith("p:") or column in ("confidence", "unknown_score"):
                assert float(value) == pytest.approx(float(fitting), abs=1e-4)
            else:
                assert value == fitting


# What a user does.


def test_a_file_that_cannot_be_read_has_a_row_with_the_reason_and_the_others_go_on(page, kinds, tmp_path):
    broken = {"text.jpg": b"hello", "empty.png": b"", "short.png": kinds["plain.png"].read_bytes()[:999]}
    broken |= {
        "short.jpg": kinds["grey.jpg"].read_bytes()[:900],
        "bad.png": kinds["plain.png"].read_bytes()[:40] + b"IEND",
    }
    for name, data in broken.items():
        (tmp_path / name).write_bytes(data)
    give(page, *(tmp_path / name for name in broken), kinds["plain.png"])
    rows = page.locator("#rows tr")
    assert "not a picture" in rows.nth(0).inner_text()
    assert "empty" in rows.nth(1).inner_text()
    assert "too early" in rows.nth(2).inner_text()
    assert "too early" in rows.nth(3).inner_text()
    assert "damaged" in rows.nth(4).inner_text()
    assert "%" in rows.nth(5).inner_text()
    assert page.locator("#status").inner_text() == "6 pictures, 5 cannot be read."


def test_a_picture_with_more_pixels_than_the_limit_is_refused(show, tmp_path, kinds):
    card = Card(("a", "b"), Preprocessing(32, max_pixels=1000))
    (tmp_path / "page.html").write_text(write_page(card, b"", NO_RUNTIME, "0"), encoding="utf-8")
    opened = show(tmp_path / "page.html")
    give(opened, kinds["plain.png"])
    assert "too large" in opened.locator("#rows tr").inner_text()


@pytest.mark.parametrize("event", ["drop", "paste"])
def test_pictures_are_dropped_or_pasted(page, kinds, event):
    drop(page, event, kinds["plain.png"], kinds["grey.jpg"])
    page.locator("#rows tr").nth(1).wait_for()
    assert page.locator("#rows tr button").all_inner_texts()[:2] == ["plain.png", "grey.jpg"]
    assert page.locator("#name").inner_text() == "plain.png"


def test_the_answer_shows_the_five_most_probable_classes_and_names_as_they_are(page, model, kinds):
    give(page, kinds["plain.png"])
    wanted = model.predict_proba(str(kinds["plain.png"]))[0]
    names = [CLASSES[k] for k in np.argsort(-wanted, kind="stable")[:5]]
    assert page.locator("#bars .class").all_inner_texts() == names
    assert page.locator("#bars .number").first.inner_text() == f"{100 * wanted.max():.1f} %"
    assert page.locator("#others").inner_text().startswith("One more class has")
    assert page.locator("b, i").count() == 0


def test_a_strange_picture_is_unknown(page, model, kinds):
    said = {name: model.predict(str(path), unknown=True)[0] for name, path in kinds.items() if name.endswith(".png")}
    strange = next(name for name, answer in said.items() if answer == "unknown")
    give(page, kinds[strange])
    assert page.locator("#said").inner_text() == "unknown"
    assert model.predict(str(kinds[strange]))[0] in page.locator("#why").inner_text()


def test_a_row_shows_its_picture_again(page, kinds):
    give(page, kinds["plain.png"], kinds["wide.png"])
    page.get_by_role("button", name="Show wide.png").press("Enter")
    assert page.locator("#name").inner_text() == "wide.png"
    assert page.locator("#rows tr.shown").inner_text().startswith("\twide.png")


def test_clearing_forgets_the_pictures(page, kinds):
    give(page, kinds["plain.png"])
    page.click("#clear")
    assert page.locator("#rows tr").count() == 0
    assert not page.locator("#answer").is_visible()
    give(page, kinds["plain.png"])
    assert page.locator("#rows tr").count() == 1


def test_the_page_speaks_chinese_to_who_does(show, exported, kinds):
    opened = show(exported / "index.html", locale="zh-CN")
    give(opened, kinds["plain.png"])
    assert opened.locator("h1").inner_text() == "图里是什么?".replace("?", "？")
    assert opened.evaluate("document.documentElement.lang") == "zh-CN"
    opened.click("#language")
    assert opened.locator("h1").inner_text() == "What is in the picture?"
    assert "sure" in opened.locator("#how").inner_text() or "unknown" in opened.locator("#said").inner_text()


def test_the_page_tells_what_the_model_is(page):
    page.click("summary")
    facts = page.locator("#facts").inner_text()
    assert "93.0 % (95 % interval 90.0 % to 95.0 %) on 398 test pictures" in facts
    assert "<i>flowers</i>, 2521 pictures" in facts
    assert "sun<b>flowers</b>" in facts


def test_the_camera_is_answered_again_and_again_and_a_frame_can_be_kept(show, exported):
    opened = show(exported / "index.html", permissions=["camera"])
    opened.click("#camera")
    opened.locator("#bars li").first.wait_for()
    assert opened.locator("#which option").all_inner_texts()[:2] == ["Back camera", "Front camera"]
    seen = "document.querySelector('#lens').toDataURL()"
    first = opened.evaluate(seen)
    deadline = time.monotonic() + 15
    while opened.evaluate(seen) == first and time.monotonic() < deadline:
        opened.wait_for_timeout(50)
    assert opened.evaluate(seen) != first
    opened.click("#keep")
    opened.locator("#rows tr").wait_for()
    assert opened.locator("#rows button").inner_text() == "camera 1.png"
    opened.click("#camera")
    assert opened.evaluate("document.querySelector('#video').srcObject") is None


def test_a_camera_that_may_not_be_used_is_told(show, exported):
    opened = show(exported / "index.html")
    opened.click("#camera")
    opened.locator("#trouble:visible").wait_for()
    assert "may not be used" in opened.locator("#trouble").inner_text()
    assert opened.locator("#camera").inner_text() == "Use the camera"


def test_without_a_camera_the_page_says_so(page):
    page.evaluate(
        "() => { navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('', 'NotFoundError'); }; }"
    )
    page.click("#camera")
    page.locator("#trouble:visible").wait_for()
    assert page.locator("#trouble").inner_text() == "There is no camera."


def test_everything_is_reached_with_the_keyboard(page, kinds):
    give(page, kinds["plain.png"])
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    reached = []
    for _ in range(12):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
    assert {"language", "files", "camera", "save", "clear", "BUTTON", "SUMMARY"} <= set(reached)


@pytest.mark.parametrize("locale", ["en", "zh-CN"])
def test_nothing_sticks_out_sideways_on_a_phone(show, exported, kinds, locale):
    opened = show(exported / "index.html", locale=locale, viewport={"width": 360, "height": 740})
    give(opened, kinds["wide.png"], kinds["plain.png"])
    opened.click("summary")
    assert opened.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_from_the_ground(show, exported, scheme):
    opened = show(exported / "index.html", color_scheme=scheme)
    colours = opened.evaluate("""() => ["--ink", "--soft", "--leaf", "--bad", "--warn", "--paper"].map((name) => {
        const probe = document.body.appendChild(document.createElement("i"));
        probe.style.color = `var(${name})`;
        return getComputedStyle(probe).color.match(/\\d+/g).map(Number);
    })""")

    def luminance(colour):
        parts = [c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    *inks, paper = map(luminance, colours)
    assert all((max(ink, paper) + 0.05) / (min(ink, paper) + 0.05) >= 4.5 for ink in inks)


def test_a_page_whose_model_does_not_start_says_so(show, tmp_path):
    (tmp_path / "page.html").write_text(
        write_page(Card(("a", "b"), Preprocessing(8)), b"", NO_RUNTIME, "0"), encoding="utf-8"
    )
    opened = show(tmp_path / "page.html")
    opened.locator("#trouble:visible").wait_for()
    assert "no runtime" in opened.locator("#trouble").inner_text()


def test_the_page_may_ask_for_nothing(chromium, exported):
    opened = chromium.new_page()
    opened.goto((exported / "index.html").as_uri())
    refused = opened.evaluate("""() => new Promise((done) => {
        addEventListener("securitypolicyviolation", (event) => done(event.effectiveDirective));
        fetch("http://127.0.0.1:9/").catch(() => {});
    })""")
    opened.close()
    assert refused == "connect-src"


# The file, and the runner that proves it.


def test_the_runner_gives_what_pytorch_gives(exported, model, kinds):
    pictures = np.stack([model.read(path.read_bytes()) for path in kinds.values()])
    opened = Web().open(exported)
    found, wanted = opened.run(pictures), model.judge(pictures)
    assert list(found) == ["probabilities", "unknown_score"]
    assert found["probabilities"].dtype == np.float32
    assert np.abs(found["probabilities"] - wanted.probabilities).max() < 1e-5
    assert np.abs(found["unknown_score"] - wanted.strange).max() < 1e-4
    assert opened.run(pictures[:0])["probabilities"].shape == (0, len(CLASSES))


def test_a_page_in_8_bits_holds_the_faster_runtime_too(blueprint, model, kept_runtime, tmp_path):
    pictures = np.stack([model.read(path.read_bytes()) for path in PHOTOGRAPHS] or [picture(SIZE, SIZE)])
    page = Web().write(blueprint, tmp_path, Precision("int8", pictures))
    opened, wanted = Web().open(page), model.judge(pictures).probabilities
    text = (page / "index.html").read_text(encoding="utf-8")
    assert 'id="runtime-plain"' in text and 'id="runtime-relaxed"' in text
    assert opened.card.precision == "int8"
    found = opened.run(pictures)["probabilities"]
    assert 1e-5 < np.abs(found - wanted).max() < 0.2
    assert (found.argmax(1) == wanted.argmax(1)).mean() > 0.8


def test_the_runner_answers_several_threads(exported):
    opened, pictures = Web().open(exported), np.stack([picture(SIZE, SIZE, seed) for seed in range(12)])
    wanted, found = opened.run(pictures)["probabilities"], {}
    threads = [
        threading.Thread(target=lambda k=k: found.update({k: opened.run(pictures[k : k + 3])})) for k in range(0, 12, 3)
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert (np.concatenate([found[k]["probabilities"] for k in range(0, 12, 3)]) == wanted).all()


def test_a_runner_that_nobody_holds_closes_its_browser(exported):
    before = {one for one in threading.enumerate() if one.name == "web page"}
    opened = Web().open(exported)
    (own,) = {one for one in threading.enumerate() if one.name == "web page"} - before
    del opened
    own.join(20)
    assert not own.is_alive()


def test_the_card_is_in_the_page(exported, model):
    card = read_card((exported / "index.html").read_text(encoding="utf-8"), "it")
    assert card.classes == CLASSES
    assert card.preprocessing == model.preprocessing
    assert card.judgement.strange_above == model.judgement.strange_above
    assert [path.name for path in exported.iterdir()] == ["index.html"]


def test_a_page_of_another_program_is_refused(tmp_path):
    (tmp_path / "index.html").write_text("<p>hello</p>")
    with pytest.raises(ModelError, match="card of Linnaeus"):
        Web().open(tmp_path)
    with pytest.raises(ModelError, match="should be a page"):
        Web().open(tmp_path / "nothing.html")


def test_a_page_that_does_not_start_is_refused(tmp_path, chromium):
    page = write_page(Card(("a", "b"), Preprocessing(8)), b"", NO_RUNTIME, "0")
    (tmp_path / "index.html").write_text(page, encoding="utf-8")
    with pytest.raises(ModelError, match="no runtime"):
        Web().open(tmp_path)


def test_what_is_missing_to_run_the_page_is_told(monkeypatch):
    monkeypatch.setattr(runner, "find_browser", lambda: None)
    assert "playwright install chromium" in Web().why_not_here()
    monkeypatch.setattr(runner.importlib.util, "find_spec", lambda _name: None)
    assert "pip install playwright" in Web().why_not_here()


def test_a_model_that_cannot_tell_has_no_such_columns():
    rules = rules_of(Card(("a", "b"), Preprocessing(8)), "none")
    assert not rules["judges"]
    assert rules["answer_from"] is rules["strange_above"] is None
