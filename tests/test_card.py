from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from linnaeus.errors import ModelError
from linnaeus.metrics.abstention import Judgement
from linnaeus.records import Predictions, Preprocessing
from linnaeus.targets.card import KEY, Card, checked

CLASSES = ("blau, kühl", "green", "猫")
ABOUT = {"seed": 3, "accuracy": 0.914, "data": {"pictures": 72}, "none": None}


@pytest.fixture
def card():
    """A card with everything in it."""
    about = Preprocessing(
        20, resize_px=24, interpolation="bicubic", background=(1, 2, 3), channels=1, mean=(0.4,), std=(0.2,)
    )
    p = np.random.default_rng(0).dirichlet(np.ones(3), 30)
    held = Predictions(p, np.arange(30) % 3, tuple(map(str, range(30))), CLASSES)
    outputs = ("probabilities", "unknown_score")
    judgement = replace(Judgement.make(held, candidates=4), strange_above=-3.25)
    return Card(CLASSES, about, outputs, "nchw", precision="int8", judgement=judgement, about=ABOUT)


def test_everything_on_a_card_survives(card):
    again = Card.of(card.text(), "model.onnx")
    assert replace(again, judgement=None) == replace(card, judgement=None)


def test_the_judgement_survives_to_the_last_bit(card):
    again, meant = Card.of(card.text(), "model.onnx").judgement, card.judgement
    assert (again.candidates, again.strange_above) == (4, -3.25)
    assert all(np.array_equal(again.arrays()[name], one) for name, one in meant.arrays().items())
    assert again.held.classes == CLASSES


def test_a_threshold_that_calls_nothing_strange_survives(card):
    again = Card.of(replace(card, judgement=replace(card.judgement, strange_above=np.inf)).text(), "model.onnx")
    assert again.judgement.strange_above == np.inf


@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
@pytest.mark.parametrize("size_px", [1, 3, 224])
def test_the_layout_is_told_at_any_size_of_the_pictures(layout, size_px):
    card = Card(("a", "b"), Preprocessing(size_px), layout=layout)
    assert Card.of(card.text(), "model.onnx") == card


def test_a_card_for_any_size_is_told_by_its_shape():
    card = Card(("a", "b"), Preprocessing(32), any_size=True)
    assert json.loads(card.text())["input"]["shape"] == [1, "height", "width", 3]
    assert Card.of(card.text(), "model.onnx") == card


@pytest.mark.parametrize(("layout", "shape"), [("nhwc", ["batch", 32, 32, 3]), ("nchw", ["batch", 3, 32, 32])])
def test_the_document_says_how_to_call_the_graph(layout, shape):
    document = json.loads(Card(("a", "b"), Preprocessing(32), layout=layout).text())
    assert document["input"] == {
        "name": "image",
        "dtype": "uint8",
        "shape": shape,
        "layout": layout,
        "colours": "RGB",
    }
    assert document["outputs"] == ["probabilities"]


def test_pictures_are_brought_to_the_layout():
    grey = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 1), dtype=np.uint8)
    planes = Card(("a", "b"), Preprocessing(4), layout="nchw").shaped(grey)
    assert planes.shape == (2, 3, 4, 4) and planes.flags.c_contiguous
    assert (planes[:, 2] == grey[..., 0]).all()


def test_a_card_of_a_newer_format_is_refused(card):
    newer = json.dumps(json.loads(card.text()) | {"format": 2})
    with pytest.raises(ModelError) as told:
        Card.of(newer, "model.onnx")
    assert (told.value.got, told.value.fix) == ("format 2", "install a newer linnaeus.")


def changed(text, *path, to=None):
    """Change or drop one place of a document."""
    document = json.loads(text)
    inside = document
    for step in path[:-1]:
        inside = inside[step]
    if to is None:
        del inside[path[-1]]
    else:
        inside[path[-1]] = to
    return json.dumps(document)


@pytest.mark.parametrize(
    ("path", "to"),
    [
        (("classes",), None),
        (("classes",), 5),
        (("input", "shape"), None),
        (("input", "shape"), [1]),
        (("input", "layout"), None),
        (("preprocessing", "size_px"), None),
        (("preprocessing", "colour"), "red"),
        (("preprocessing", "mean"), [0.5, 0.5]),
        (("outputs",), 3),
        (("judgement",), {"held.labels": {}}),
        (("judgement", "held.probabilities", "base64"), "AAAA"),
        (("judgement", "held.probabilities", "dtype"), "no type"),
        (("judgement", "candidates"), None),
        (("about",), None),
        (("format",), "one"),
        (("format",), None),
    ],
)
def test_a_damaged_card_is_refused(card, path, to):
    with pytest.raises(ModelError):
        Card.of(changed(card.text(), *path, to=to), "model.onnx")


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", '"card"'])
def test_what_is_no_card_is_refused(text):
    with pytest.raises(ModelError):
        Card.of(text, "model.onnx")


@pytest.mark.parametrize("nothing", [None, ""])
def test_a_file_without_a_card_is_another_programs(nothing):
    with pytest.raises(ModelError, match="should hold a card of Linnaeus"):
        checked(nothing, "model.onnx")


def test_the_name_in_the_metadata_is_fixed():
    assert KEY == "linnaeus"
