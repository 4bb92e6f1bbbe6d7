"""The page as a file, and the runner that proves it."""

import threading

import numpy as np
import pytest

from linnaeus.errors import ModelError
from linnaeus.records import Preprocessing
from linnaeus.targets.card import Card
from linnaeus.targets.target import Precision
from linnaeus.targets.web import Web, runner
from linnaeus.targets.web.page import read_card, rules_of, write_page
from made_page import CLASSES, PHOTOGRAPHS, SIZE, picture
from web.page_actions import NO_RUNTIME

# One worker runs all of them: the page is written once.
pytestmark = [pytest.mark.runtimes, pytest.mark.xdist_group("web")]


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
