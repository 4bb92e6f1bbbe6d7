import base64
import hashlib
import json
import re
from types import SimpleNamespace

import numpy as np
import pytest

from linnaeus.metrics import apply_temperature, score
from linnaeus.records import Predictions
from linnaeus.verbs import report as package
from linnaeus.verbs.report import report, report_predictions
from linnaeus.verbs.report.language import LANGUAGES
from linnaeus.verbs.report.pictures import MOST_DRAWN, confusion
from made_results import made_results
from test_report import FRUIT, MARKUP, Page, make_run, said

VERBS = ("calibration", "abstention", "ranking", "slices", "explain", "stress", "export", "compress")


def predict(classes, N, skill=3.0, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(N) % len(classes)
    logits = rng.normal(size=(N, len(classes)))
    logits[np.arange(N), labels] += skill
    return Predictions(apply_temperature(logits, 1.0), labels, tuple(f"{k:05}.png" for k in range(N)), tuple(classes))


@pytest.fixture
def no_pictures(monkeypatch):
    """Leave out the PNG files, which take most of a report's time and have tests of their own."""
    monkeypatch.setattr("linnaeus.verbs.report.pictures.write_pictures", lambda *_: None)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run with every document, and its page."""
    run = make_run(tmp_path_factory.mktemp("results"), each=60, skill=2.0)
    for verb, found in made_results(run.predictions("test")).items():
        run.write_result(verb, found)
    return run, Page(report(run).read_text(encoding="utf-8"))


def test_every_document_is_drawn(whole):
    words = said(whole[1])
    for told in (
        "lowest cross-validated log loss was taken: temperature",
        "Area under this curve",
        "mean over the classes 0.985",
        "48 kinds of pictures were compared",
        "Grad-CAM is the one to believe here",
        "weakest against JPEG compression",
        "at most 5.0 %",
        "right and certified",
        "integrated gradients",
        "Proved equal: 2 of 5 files",
        "Chosen: pruned, int8, run by OpenVINO",
    ):
        assert told.casefold() in words.casefold().replace("\u00a0", " "), told
    assert whole[1].open == []


def test_the_answer_tells_what_the_documents_add(whole):
    answer = said(whole[1]).split("The data")[0].replace("\u00a0", " ")
    assert "It is worse on pictures of this kind: brightness 0.02 to 0.21" in answer
    assert "at least 93.0 % sure" in answer
    assert "linnaeus stress" not in answer


def test_a_promise_that_cannot_be_kept_is_told_with_its_reason(whole):
    assert "not possible" in said(whole[1])
    assert "too few validation pictures" in said(whole[1])


def test_what_is_missing_names_the_command_that_makes_it(tmp_path, no_pictures):
    run = make_run(tmp_path)
    words = said(Page(report(run).read_text(encoding="utf-8")))
    assert f"linnaeus stress {run.folder}" in words
    assert f"linnaeus explain {run.folder}" in words
    assert f"linnaeus export {run.folder} --to onnx" in words
    assert f"linnaeus compress {run.folder} --target latency=2x" in words
    assert f"linnaeus evaluate {run.folder} SOURCE" in words


@pytest.mark.parametrize("verb", VERBS)
def test_a_document_of_another_form_is_told_in_its_place(tmp_path, no_pictures, verb):
    run = make_run(tmp_path)
    run.write_result(
        verb, {"slices": [{}], "curve": [[]], "promises": [{}], "corruptions": 3, "pictures": [1], "classes": [None]}
    )
    words = said(Page(report(run).read_text(encoding="utf-8")))
    assert f"results/{verb}.json has a form that this report does not know" in words
    assert "91 files found" in words


def test_maps_are_shown_from_the_run_and_from_nowhere_else(tmp_path, no_pictures):
    from PIL import Image

    run = make_run(tmp_path)
    for path in (tmp_path / "secret.png", run.picture_path("explain/a")):
        Image.new("RGB", (30, 30), "red").save(path)
    found = made_results(run.predictions("test"))["explain"]
    found["pictures"] = found["pictures"][:1]
    found["pictures"][0]["maps"] = {"LIME": "../secret.png", "Grad-CAM": "pictures/explain/a.png"}
    run.write_result("explain", found)
    page = Page(report(run).read_text(encoding="utf-8"))
    alts = [one["alt"] for one in page.all("img")]
    assert "Grad-CAM" in alts
    assert "LIME" not in alts


def test_hostile_words_in_documents_do_nothing(tmp_path, no_pictures):
    run = make_run(tmp_path, MARKUP, each=12)
    found = made_results(run.predictions("test"))
    found["slices"]["slices"][0]["what"] = found["stress"]["corruptions"][0]["kind"] = MARKUP[0]
    found["explain"]["believe"] = found["stress"]["weakest"] = found["abstention"]["promises"][0]["why"] = MARKUP[1]
    found["export"]["files"]["onnx"]["title"] = found["compress"]["why"] = found["compress"]["original"]["title"] = (
        MARKUP[0]
    )
    found["compress"]["chosen"] = found["compress"]["candidates"][0]["name"] = MARKUP[1]
    for verb, one in found.items():
        run.write_result(verb, one)
    page = Page(report(run).read_text(encoding="utf-8"))
    assert page.all("script") == [{}]
    assert page.open == []
    assert not any("onerror" in attributes for _, attributes in page.tags)


def test_only_the_script_of_the_page_may_run(whole):
    policy = next(one["content"] for one in whole[1].all("meta") if one.get("http-equiv"))
    script = re.search(r"<script>(.*)</script>", whole[1].text, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy


@pytest.mark.parametrize(("K", "N"), [(2, 40), (5, 200), (100, 1000), (1000, 2000)])
def test_a_page_is_below_5_mb_for_any_number_of_classes(tmp_path, K, N):
    judged = predict([f"Genus species{k} subspecies" for k in range(K)], N)
    out = report_predictions(judged, score(judged, resamples=3), made_results(judged), tmp_path / "page.html", "many")
    assert out.stat().st_size < 5_000_000
    assert Page(out.read_text(encoding="utf-8")).open == []


def test_a_page_is_below_5_mb_even_with_endless_names_and_findings(tmp_path, monkeypatch, no_pictures):
    from linnaeus.records import Finding

    run = make_run(tmp_path, tuple("<" * 5000 + str(k) for k in range(40)), each=6)
    run.write_findings(
        [Finding("leak", ("&" * 9000,) * 9, ">" * 9000) for _ in range(500)], {"found": 240, "used": 240}
    )
    assert report(run).stat().st_size < 5_000_000


def test_pictures_give_way_where_a_page_would_grow_too_large(tmp_path, monkeypatch, no_pictures):
    run = make_run(tmp_path)
    before = len(Page(report(run).read_text(encoding="utf-8")).all("img"))
    monkeypatch.setattr(package, "ROOMS", (60_000,))
    page = Page(report(run).read_text(encoding="utf-8"))
    assert 0 < len(page.all("img")) < before
    assert "no room" in page.words


def test_the_chinese_page_says_the_same_in_chinese(tmp_path, no_pictures):
    run = make_run(tmp_path)
    for verb, found in made_results(run.predictions("test")).items():
        run.write_result(verb, found)
    english, chinese = (Page(report(run, language).read_text(encoding="utf-8")) for language in ("en", "zh"))
    assert chinese.all("html")[0]["lang"] == "zh-Hans"
    assert [one.get("id") for one in chinese.all("section")] == [one.get("id") for one in english.all("section")]
    assert len(chinese.all("tr")) == len(english.all("tr"))
    assert "混淆矩阵" in chinese.text
    assert "Noto Sans CJK SC" in chinese.text


@pytest.mark.parametrize("language", ["en", "zh"])
def test_no_mark_of_the_catalogue_is_left_in_the_page(whole, language, no_pictures):
    page = Page(report(whole[0], language).read_text(encoding="utf-8"))
    assert "**" not in page.words
    assert not re.findall(r"\{\w+\}", page.words)


def test_markdown_tells_the_same_story(whole):
    report(whole[0], "en")
    text = whole[0].report_path.with_suffix(".md").read_text(encoding="utf-8")
    titles = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert len(titles) == len(whole[1].all("section"))
    assert "**fails most often on**" in text
    linked = re.findall(r"\]\((pictures/[^)]*)\)", text)
    assert {"pictures/confusion.png", "pictures/mistakes.png"} <= set(linked)
    assert all((whole[0].folder / one).is_file() for one in linked)


def test_rows_of_markdown_tables_have_as_many_fields_as_their_heads(whole):
    text = whole[0].report_path.with_suffix(".md").read_text(encoding="utf-8")
    width = 0
    for line in text.splitlines():
        fields = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else 0
        assert not width or not fields or fields == width, line
        width = fields


def test_hostile_names_do_nothing_in_markdown(tmp_path, no_pictures):
    run = make_run(tmp_path, ("# head", "a|b", "<script>x</script>", "[x](http://y)"), each=12)
    report(run)
    text = run.report_path.with_suffix(".md").read_text(encoding="utf-8")
    assert "<script" not in text.replace("\\<", "")
    assert not re.findall(r"(?<!\\)\]\(http", text)
    assert len(re.findall("^# ", text, re.MULTILINE)) == 1


def test_json_holds_what_the_page_rests_on(whole):
    run = whole[0]
    document = json.loads(run.report_path.with_suffix(".json").read_text(encoding="utf-8"))
    assert document["format"] == 1
    assert document["classes"] == list(FRUIT)
    assert document["answer"]["accuracy"]["value"] == run.scores("test").overall["accuracy"].value
    assert document["answer"]["probabilities"]["verdict"] in ("word", "guide", "sure", "modest")
    assert document["results"].keys() == set(VERBS)
    assert document["data"]["accounted"]["found"] == 181


def test_json_has_null_for_what_is_not_finite(tmp_path, no_pictures):
    run = make_run(tmp_path)
    run.log({"event": "epoch", "step": 40, "epoch": 4.0, "train_loss": float("nan")})
    report(run)
    document = json.loads(run.report_path.with_suffix(".json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert document["epochs"][-1]["train_loss"] is None


def test_outside_predictions_get_a_report_without_a_run(tmp_path):
    judged = predict(FRUIT, 90)
    found = {"ranking": made_results(judged)["ranking"]}
    out = report_predictions(judged, score(judged, resamples=20), found, tmp_path / "page.html", "theirs")
    page = Page(out.read_text(encoding="utf-8"))
    assert "whether the model saw them in training" in said(page)
    assert "linnaeus evaluate --predictions PREDICTIONS.csv" in said(page)
    assert not page.all("img")
    assert {"data", "stress", "explain", "export", "compress"}.isdisjoint(one["id"] for one in page.all("section"))
    assert out.with_suffix(".md").is_file()
    assert json.loads(out.with_suffix(".json").read_text())["part"] == "outside"


def test_outside_predictions_that_are_all_right_are_reported(tmp_path):
    judged = predict(("no", "yes"), 6, skill=80.0)
    out = report_predictions(judged, score(judged, resamples=5), {}, tmp_path / "page.html", "small", "zh")
    assert "没有出错" in out.read_text(encoding="utf-8")


def test_of_very_many_classes_the_picture_shows_the_most_frequent_mistakes():
    counts = np.diag(np.full(MOST_DRAWN + 1, 3, np.int32))
    counts[5, 900] = counts[900, 7] = 2
    names = tuple(f"class {k}" for k in range(len(counts)))
    evidence = SimpleNamespace(
        scores=SimpleNamespace(confusion=counts), classes=names, part="test", confusions=lambda _: []
    )
    (drawn,) = confusion(evidence, LANGUAGES["en"]).axes[0].get_images()
    shares = drawn.get_array()
    assert len(shares) < 100
    assert np.count_nonzero(shares - np.diag(np.diag(shares))) == 2
