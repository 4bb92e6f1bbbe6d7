from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from linnaeus.config import Recipe
from linnaeus.errors import RunError
from linnaeus.metrics import apply_temperature, score
from linnaeus.records import Dataset, Decision, Example, Finding, Place, Predictions, Split
from linnaeus.run import Run
from linnaeus.verbs.report import report
from linnaeus.verbs.report.thumbnails import EXAMPLES

FRUIT = ("apple", "banana", "cherry")


def make_run(folder: Path, classes: tuple[str, ...] = FRUIT, *, each: int = 30, skill: float = 2.5) -> Run:
    """Leave a run as training does, with real little pictures and made-up predictions."""
    rng = np.random.default_rng(0)
    examples = tuple(
        Example(f"{k}/{i:03}.png", Place(str(_picture(folder / "photos" / f"{k}-{i:03}.png", rng))), name)
        for k, name in enumerate(classes)
        for i in range(each)
    )
    dataset = Dataset("fruit", "photos", examples, classes)
    parts = np.array(["train" if i % 3 == 0 else "val" if i % 3 == 1 else "test" for i in range(len(examples))])
    run = Run.create(folder / "run", "fruit", Recipe(), {"source": "photos"})
    decisions = [Decision("model.name", "tf_efficientnet_lite0", "few photographs")]
    run.write_plan(Recipe(), decisions, {"N": len(examples)})
    run.write_provenance({"command": "linnaeus train photos", "seed": 7, "versions": {"torch": "2.15.0"}})
    run.write_split(dataset, Split(parts, np.full(len(examples), "hash of content")), ["0"] * len(examples))
    aside = Finding("truncated", ("apple/half.png",), "ends in the middle", "set aside")
    leak = Finding("leak", ("a.png", "b.png"), "the same picture is in train and test")
    run.write_findings([aside, leak], {"found": len(examples) + 1, "used": len(examples), "truncated": 1})
    for part in ("val", "test"):
        judge(run, dataset, np.flatnonzero(parts == part), part, skill)
    finish(run)
    return run


def judge(run: Run, dataset: Dataset, rows: np.ndarray, part: str, skill: float) -> None:
    labels, K = dataset.labels[rows], len(dataset.classes)
    logits = np.random.default_rng(1).normal(size=(len(rows), K))
    logits[np.arange(len(rows)), labels] += skill
    ids = tuple(dataset.examples[row].id for row in rows)
    predictions = Predictions(apply_temperature(logits, 1.0), labels, ids, dataset.classes)
    run.write_predictions(part, predictions)
    run.write_scores(part, score(predictions, resamples=50))


def finish(run: Run) -> None:
    for epoch in (1.0, 2.0, 3.0):
        losses = {"train_loss": 1 / epoch, "val_loss": 1.1 / epoch, "train_accuracy": 0.9, "val_accuracy": 0.8}
        run.log({"event": "epoch", "step": int(10 * epoch), "epoch": epoch, **losses})
    run.model_dir.mkdir()
    seen = {"size_px": 64, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
    stored = {"linnaeus": {"calibration": {"kind": "temperature", "temperature": 1.5}, "preprocessing": seen}}
    (run.model_dir / "config.json").write_text(json.dumps(stored), encoding="utf-8")
    run.write_summary({"stages": {"train": 3.0}, "seconds": 4.0, "best_epoch": 2, "network": "small-net"})


def _picture(path: Path, rng: np.random.Generator) -> Path:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(path)
    return path


class Page(HTMLParser):
    """Read a page strictly enough to notice tags that cross or stay open."""

    VOID = frozenset({"meta", "img", "br", "link", "input", "hr"})
    CLOSED_ALONE = frozenset({"rect", "line", "circle", "path", "polyline", "polygon"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        assert tag in self.CLOSED_ALONE
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        self.words += " " if tag in ("td", "th") else ""

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.words += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def read(run: Run) -> Page:
    return Page(report(run).read_text(encoding="utf-8"))


def said(page: Page) -> str:
    return re.sub(r"\s+", " ", page.words)


@pytest.fixture(scope="module")
def fruit(tmp_path_factory) -> tuple[Run, Page]:
    run = make_run(tmp_path_factory.mktemp("report"))
    return run, read(run)


def test_the_pictures_of_a_run_are_written(fruit):
    run, _ = fruit
    for name in ("learning_curves", "confusion", "examples", "mistakes", "reliability"):
        with Image.open(run.picture_path(name)) as picture:
            assert min(picture.size) > 300


def test_drawing_leaves_matplotlib_as_it_was(tmp_path):
    import matplotlib

    before = dict(matplotlib.rcParams)
    report(make_run(tmp_path))
    assert dict(matplotlib.rcParams) == before


def test_every_tag_is_closed_in_order(fruit):
    assert fruit[1].open == []


def test_the_page_loads_nothing_from_elsewhere(fruit):
    run, page = fruit
    for _, attributes in page.tags:
        assert all((attributes.get(name) or "#").startswith(("#", "data:")) for name in ("src", "href"))
    assert not page.all("link")
    text = run.report_path.read_text(encoding="utf-8")
    assert "url(" not in text
    assert "@import" not in text


def test_the_answer_comes_first_in_plain_words(fruit):
    words = said(fruit[1])
    accuracy = fruit[0].scores("test").overall["accuracy"]
    assert "which of 3 classes it shows: apple, banana and cherry" in words
    assert f"about {round(100 * accuracy.value)} right" in words
    assert "would be right for 33 of 100" in words
    assert "linnaeus predict" in words
    assert words.index("about ") < words.index("The data")


def test_the_weakest_class_and_the_commonest_mistake_are_named(fruit):
    run, page = fruit
    scores = run.scores("test")
    worst = min(scores.per_class, key=lambda one: one.recall.value)
    counts = scores.confusion - np.diag(scores.confusion.diagonal())
    true, called = divmod(int(counts.argmax()), 3)
    assert f"fails most often on {worst.name}" in said(page)
    assert f"to take {FRUIT[true]} for {FRUIT[called]}, {counts.max()} of 10 times" in said(page)


def test_warnings_stand_beside_the_answer(fruit):
    words = said(fruit[1])
    assert "Leak: the same picture is in train and test" in words
    assert "Only 30 pictures to judge it by" in words


def test_every_file_is_accounted_for(fruit):
    words = said(fruit[1])
    assert "91 files found, 90 used, 1 set aside (1 truncated)" in words
    assert "apple/half.png" in words


def test_files_that_are_missing_from_the_account_are_reported(tmp_path):
    run = make_run(tmp_path)
    run.write_findings([], {"found": 100, "used": 90})
    assert "100 files were found, but 90 are accounted for" in said(read(run))


def test_every_score_stands_with_its_interval_and_n(fruit):
    run, page = fruit
    f1 = run.scores("test").overall["macro_f1"]
    assert f"{f1.value:.3f} {f1.low:.3f} to {f1.high:.3f} 30" in said(page)


def test_every_picture_and_drawing_has_words_for_those_who_do_not_see_it(fruit):
    assert all(one.get("alt") for one in fruit[1].all("img"))
    for one in fruit[1].all("svg"):
        ids = (one.get("aria-labelledby") or "").split()
        assert one.get("aria-hidden") or ([id for id in ids if f'id="{id}">' in fruit[1].text] == ids != [])


def test_language_title_and_viewport_are_set(fruit):
    assert fruit[1].all("html")[0]["lang"] == "en"
    assert len(fruit[1].all("title")) >= 1
    assert any(one.get("name") == "viewport" for one in fruit[1].all("meta"))


def test_a_report_that_is_written_again_keeps_its_language(fruit):
    run, _ = fruit
    try:
        assert 'lang="zh' in report(run, "zh").read_text(encoding="utf-8")
        assert 'lang="zh' in report(run).read_text(encoding="utf-8")
    finally:
        assert 'lang="en"' in report(run, "en").read_text(encoding="utf-8")


def test_the_same_run_gives_the_same_page(fruit):
    run, _ = fruit
    before = run.report_path.read_bytes()
    assert report(run).read_bytes() == before


def test_examples_are_not_the_first_ones(fruit):
    alts = [one["alt"] for one in fruit[1].all("img")][:EXAMPLES]
    assert alts != sorted(alts)


def test_mistakes_begin_with_the_one_of_which_the_model_was_most_sure(fruit):
    run, page = fruit
    judged = run.predictions("test")
    wrong = judged.predicted != judged.labels
    surest = np.where(wrong, judged.probabilities.max(axis=1), 0).argmax()
    alts = [one["alt"] for one in page.all("img")]
    assert alts[EXAMPLES] == judged.ids[surest]


MARKUP = ("<script>alert(1)</script>", '"><img src=x onerror=1>', "{{ 7*7 }}", "a&b", "$\\frac{1}$")
STRANGE = (*MARKUP, "é" * 200, "鬱金香", "وردة")


def test_strange_class_names_are_shown_as_they_are_and_do_nothing(tmp_path):
    page = read(make_run(tmp_path, STRANGE, each=12))
    assert page.open == []
    assert page.all("script") == [{}]
    assert not any("onerror" in attributes for _, attributes in page.tags)
    assert all(name in page.words for name in STRANGE if len(name) < 60)
    assert "é" * 200 in {attributes.get("title") for attributes in page.all("bdi")}


def test_a_picture_that_has_vanished_leaves_a_grey_place(tmp_path):
    run = make_run(tmp_path)
    for path in (tmp_path / "photos").glob("*.png"):
        path.unlink()
    page = read(run)
    assert not page.all("img")
    assert page.words.count("missing") >= EXAMPLES


def test_without_epochs_the_page_says_why_there_are_no_curves(tmp_path):
    run = make_run(tmp_path)
    run.journal_path.unlink()
    assert "no epochs to show" in said(read(run))
    assert not (run.folder / "pictures" / "learning_curves.png").exists()


def test_without_a_test_part_validation_stands_in_and_is_called_so(tmp_path):
    run = make_run(tmp_path)
    (run.folder / "predictions" / "test.csv").unlink()
    words = said(read(run))
    assert "There is no test part" in words
    assert "also used to choose it" in words


def test_without_any_predictions_the_rest_is_still_told(tmp_path):
    run = make_run(tmp_path)
    for part in ("val", "test"):
        (run.folder / "predictions" / f"{part}.csv").unlink()
    words = said(read(run))
    assert "nothing can be said of how good it is" in words
    assert "91 files found" in words


def test_missing_scores_are_computed(tmp_path):
    run = make_run(tmp_path)
    (run.folder / "scores" / "test.json").unlink()
    assert "Macro F1" in said(read(run))


def test_a_run_without_a_summary_or_model_is_reported_all_the_same(tmp_path):
    run = make_run(tmp_path)
    (run.folder / "summary.json").unlink()
    (run.model_dir / "config.json").unlink()
    assert "has not come to its end" in said(read(run))


def test_a_run_that_was_never_planned_is_an_error_that_says_how_to_go_on(tmp_path):
    run = Run.create(tmp_path / "run", "fruit", Recipe(), {"source": "photos"})
    with pytest.raises(RunError, match=r"plan\.json"):
        report(run)


def test_a_model_without_mistakes_is_not_called_perfect(tmp_path):
    run = make_run(tmp_path, skill=50.0)
    assert "does not mean that it never will" in said(read(run))
    assert not (run.folder / "pictures" / "mistakes.png").exists()


def test_a_model_no_better_than_guessing_is_called_that(tmp_path):
    assert "do not show that the model does better" in said(read(make_run(tmp_path, skill=-1.0)))


def test_hundreds_of_classes_stay_readable(tmp_path):
    classes = tuple(f"species {k:03}" for k in range(150))
    page = read(make_run(tmp_path, classes, each=3, skill=1.0))
    assert "All 150 classes" in page.words
    assert "Most frequent mistakes" in page.words
    assert "60 classes with the most mistakes" in page.words


def test_two_classes_and_one_epoch_are_enough(tmp_path):
    run = make_run(tmp_path, ("no", "yes"))
    run.rewind_journal(10)
    assert len(read(run).all("polyline")) == 4


def test_numbers_that_are_not_finite_do_not_break_the_curves(tmp_path):
    run = make_run(tmp_path)
    run.log({"event": "epoch", "step": 40, "epoch": 4.0, "train_loss": float("nan"), "val_loss": None})
    drawn = read(run).all("polyline")
    assert len(drawn) == 4
    assert not any("nan" in str(line["points"]) for line in drawn)
