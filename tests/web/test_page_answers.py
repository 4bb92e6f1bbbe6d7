"""The page gives PyTorch's answers on the same files."""

import csv
import io
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from linnaeus.classifier import Classifier
from linnaeus.records import Preprocessing
from linnaeus.tables import write_table
from linnaeus.targets.card import Card
from linnaeus.targets.web.page import write_page
from linnaeus.verbs.predict import predict
from made_page import CLASSES, PHOTOGRAPHS, SIZE
from web.page_actions import NO_RUNTIME, classified, give, sent

# One worker runs all of them: the page is written once.
pytestmark = [pytest.mark.runtimes, pytest.mark.xdist_group("web")]


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
