"""The page of review in a real browser, as a person uses it: by keyboard alone, by mouse, by touch."""

import threading
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict

from linnaeus.data.corrections import apply, read
from linnaeus.data.decode import read_bytes
from linnaeus.data.diary import content_hash
from linnaeus.data.sources import open_source
from linnaeus.records import Dataset, Example, Finding, Place, Predictions
from linnaeus.verbs.review import Case, Desk, Server, cases_of, disagreements


@pytest.fixture(scope="module")
def dataset(photos, tmp_path_factory):
    return open_source(photos, cache_dir=tmp_path_factory.mktemp("cache"))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "photos.corrections.csv"


def found_in(dataset):
    ids = [example.id for example in dataset.examples]
    findings = [
        *(Finding("likely wrong label", (id,), "the model says red") for id in ids[:30]),
        Finding("near-duplicates", tuple(ids[40:43]), "three alike"),
        Finding("empty class", ("moss",), "class 'moss' holds no picture"),
    ]
    table = {"id": ids[:30], "suggested": ["red"] * 30, "score": np.linspace(0.1, 0.9, 30)}
    return cases_of(findings, dataset, table=table)


class Visit:
    """A server with one page open on it."""

    def __init__(self, server, page):
        self.server, self.page, self.errors = server, page, []
        page.set_default_timeout(10_000)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.goto(server.url)
        page.wait_for_selector(".card[data-n]")

    def press(self, *keys):
        for key in keys:
            self.page.keyboard.press(key)

    def badges(self):
        return [badge.inner_text() for badge in self.page.query_selector_all(".card .badge")]

    def wait_for_badges(self, *words):
        script = "words => [...document.querySelectorAll('.card .badge')].map(b => b.textContent).join() === words"
        self.page.wait_for_function(script, arg=",".join(words))

    def said(self, words):
        self.page.wait_for_function("words => document.getElementById('said').textContent === words", arg=words)


@pytest.fixture
def visit(browser, dataset, path):
    servers = []

    def open_(cases=None, data=dataset, **options):
        server = Server(Desk(found_in(data) if cases is None else cases, data, path, by="me"))
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        page = browser(**options)
        servers.append((server, page))
        return Visit(server, page)

    yield open_
    for server, page in servers:
        page.context.close()
        server.shutdown()
        server.server_close()


def standing(path):
    return [(one.id.rsplit("/")[-1], one.action, one.new_label) for one in read(path).standing]


def test_every_decision_can_be_made_with_the_keyboard_alone(visit, path):
    page = visit()
    page.press("k", "s", "n", "x")
    page.wait_for_badges("kept", "→ red", "not a class", "excluded")
    page.press("r")
    page.page.keyboard.type("gr")
    page.press("Enter")
    page.wait_for_badges("kept", "→ red", "not a class", "excluded", "→ green")
    assert standing(path) == [
        ("000.png", "keep", ""), ("001.png", "relabel", "red"), ("002.png", "not-a-class", ""),
        ("003.png", "exclude", ""), ("004.png", "relabel", "green"),
    ]  # fmt: skip
    assert page.errors == []


def test_undo_takes_back_the_last_step_on_the_page_and_on_the_disk(visit, path):
    page = visit()
    page.press("k", "x")
    page.wait_for_badges("kept", "excluded")
    page.press("Control+z")
    page.wait_for_badges("kept")
    page.press("u")
    page.wait_for_badges()
    assert standing(path) == []


def test_several_are_selected_with_shift_and_decided_at_once(visit, path):
    page = visit()
    page.press("ArrowRight", "Shift+ArrowRight", "Shift+ArrowRight", "x")
    page.said("3 pictures excluded")
    assert [id for id, _, _ in standing(path)] == ["001.png", "002.png", "003.png"]


def test_several_are_selected_with_the_mouse(visit, path):
    page = visit()
    cards = [page.page.locator(f"#card-{n} .frame") for n in range(8)]
    cards[0].click()
    cards[2].click(modifiers=["Shift"])
    cards[5].click(modifiers=["Control"])
    page.page.click("#bar .not-a-class")
    page.said("4 pictures not of any class")
    assert [id for id, _, _ in standing(path)] == ["000.png", "001.png", "002.png", "005.png"]


def test_all_are_selected_at_once_also_those_that_were_never_loaded(visit, path, dataset):
    one = dataset.examples[0]
    examples = tuple(Example(f"{n}.png", one.place, "green") for n in range(1000))
    cases = [Case(example.id, one.place, "green", "dark", "dark", hash=example.id) for example in examples]
    page = visit(cases, Dataset("many", "many", examples, ("green",)))
    page.press("Control+a", "x")
    page.said("1,000 pictures excluded")
    assert len(read(path).standing) == 1000


def test_a_new_class_takes_two_confirmations(visit, path):
    page = visit()
    page.press("r")
    page.page.keyboard.type("moss")
    page.press("Enter")
    assert page.page.locator("#relabel").is_visible()
    page.press("Enter")
    page.wait_for_badges("→ moss")
    assert read(path).new_classes == ("moss",)


def test_a_picture_is_looked_at_large_decided_and_the_next_one_comes(visit, path):
    page = visit()
    page.press("Enter")
    page.page.wait_for_function("() => document.getElementById('zoom-id').textContent.endsWith('000.png')")
    page.press("x")
    page.page.wait_for_function("() => document.getElementById('zoom-id').textContent.endsWith('001.png')")
    page.press("Escape")
    page.wait_for_badges("excluded")
    page.press("k")
    page.wait_for_badges("excluded", "kept")


def test_a_zoom_shows_more_than_fits(visit):
    page = visit()
    page.press("Enter")
    page.page.wait_for_function("() => document.querySelector('#zoom-pictures img')?.naturalWidth > 0")
    width = "document.querySelector('#zoom-pictures img').clientWidth"
    fits = page.page.evaluate("document.querySelector('#zoom-pictures .large').clientHeight")
    page.press("z")
    assert page.page.evaluate(width) == pytest.approx(2 * fits, abs=2)
    page.press("z", "ArrowRight")
    page.page.wait_for_function("() => document.getElementById('zoom-where').textContent === '2 of 30'")


def test_near_duplicates_stand_side_by_side_and_one_is_kept(visit, path):
    page = visit()
    page.page.click("#kinds label:has-text('near-duplicates')")
    page.page.wait_for_selector(".card.together")
    page.page.focus("#grid")
    page.press("ArrowRight", "Enter")
    page.page.wait_for_selector("#zoom-pictures figure >> nth=2")
    tops = page.page.eval_on_selector_all("#zoom-pictures figure", "all => all.map(one => one.offsetTop)")
    assert len(set(tops)) == 1
    page.press("o")
    page.said("one kept, 2 excluded")
    assert [action for _, action, _ in standing(path)] == ["exclude", "keep", "exclude"]


def test_what_was_decided_is_there_when_the_page_is_loaded_again(visit, path):
    page = visit()
    page.press("x", "k")
    page.wait_for_badges("excluded", "kept")
    page.page.select_option("#state", "all")
    page.wait_for_badges("excluded", "kept")
    page.page.reload()
    page.wait_for_badges("excluded", "kept")
    assert page.page.inner_text("#progress") == "2 of 30 decided"


@pytest.mark.parametrize("how", ["stopped", "gone"])
def test_a_decision_that_did_not_reach_the_disk_is_not_shown_as_made(visit, path, how):
    page = visit()
    page.press("k")
    page.wait_for_badges("kept")
    page.server.server_close() if how == "stopped" else page.page.context.set_offline(True)
    page.press("x")
    page.page.wait_for_selector("#trouble:not([hidden])")
    assert "nothing more is saved" in page.page.inner_text("#trouble")
    assert page.badges() == ["kept"]
    assert len(standing(path)) == 1


def test_a_phone_shows_two_columns_and_nothing_beyond_its_edge(visit, path):
    page = visit(width=360, height=740, has_touch=True, is_mobile=True)
    assert page.page.evaluate("[innerWidth, document.documentElement.scrollWidth]") == [360, 360]
    boxes = [page.page.locator(f"#card-{n}").bounding_box() for n in range(3)]
    assert boxes[0]["y"] == boxes[1]["y"] < boxes[2]["y"]
    buttons = page.page.locator("#bar button:visible")
    sizes = [buttons.nth(n).bounding_box() for n in range(buttons.count())]
    assert len(sizes) == 6
    assert all(one["height"] >= 44 and one["x"] >= 0 and one["x"] + one["width"] <= 360 for one in sizes)


def test_a_phone_decides_by_touch(visit, path):
    page = visit(width=360, height=740, has_touch=True, is_mobile=True)
    page.page.tap("#card-1 .frame")
    page.page.wait_for_selector("#zoom[open] #zoom-pictures img")
    page.page.tap("#zoom-bar .exclude")
    page.said("1 picture excluded")
    page.page.tap("#zoom [aria-label=Close]")
    page.page.tap("#card-0 .tick")
    page.page.tap("#card-3 .frame")
    page.page.tap("#bar .relabel")
    page.page.tap("#found li:has-text('green')")
    page.said("2 pictures relabelled: green")
    assert standing(path) == [
        ("001.png", "exclude", ""),
        ("000.png", "relabel", "green"),
        ("003.png", "relabel", "green"),
    ]


def touch(page, *points, hold_ms=0):
    """Put a finger down at the first point, hold it, draw it over the others, and lift it."""
    finger = page.context.new_cdp_session(page)
    for n, (x, y) in enumerate(points):
        kind = "touchMove" if n else "touchStart"
        finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y}]})
        page.wait_for_timeout(0 if n else hold_ms)
    finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def test_a_long_press_selects_and_a_swipe_goes_on(visit):
    page = visit(width=360, height=740, has_touch=True, is_mobile=True)
    box = page.page.locator("#card-2 .frame").bounding_box()
    touch(page.page, (box["x"] + 40, box["y"] + 60), hold_ms=700)
    page.page.wait_for_selector("#card-2[aria-selected=true]")
    assert not page.page.locator("#zoom").is_visible()
    page.page.tap("#card-2 .tick")
    page.page.tap("#card-1 .frame")
    page.page.wait_for_selector("#zoom[open] #zoom-pictures img")
    touch(page.page, (280, 300), (200, 305), (90, 300))
    page.page.wait_for_function("() => document.getElementById('zoom-where').textContent === '3 of 30'")
    touch(page.page, (90, 300), (280, 305))
    page.page.wait_for_function("() => document.getElementById('zoom-where').textContent === '2 of 30'")


def test_only_what_can_be_seen_of_100_000_is_in_the_page(visit, dataset, path):
    one = dataset.examples[0]
    examples = tuple(Example(f"{n:06}.png", one.place, "green") for n in range(100_000))
    cases = [Case(example.id, one.place, "green", "dark", "dark") for example in examples]
    page = visit(cases, Dataset("many", "many", examples, ("green",)))
    page.press("End")
    page.page.wait_for_selector("#card-99999[data-n]")
    assert "099999.png" in page.page.inner_text("#card-99999")
    assert page.page.locator(".card").count() < 100
    page.press("x")
    page.said("1 picture excluded")
    assert standing(path) == [("099999.png", "exclude", "")]


def test_a_screen_reader_is_told_what_each_picture_is_and_where_it_is(visit):
    page = visit()
    grid = page.page.locator("#grid")
    assert grid.get_attribute("role") == "listbox"
    page.press("ArrowRight")
    assert grid.get_attribute("aria-activedescendant") == "card-1"
    card = page.page.locator("#card-1")
    assert card.get_attribute("aria-label") == "blau, kühl, suggested red, blau, kühl/001.png, undecided"
    assert (card.get_attribute("aria-posinset"), card.get_attribute("aria-setsize")) == ("2", "30")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_can_be_read_in_the_light_and_in_the_dark(visit, scheme):
    page = visit(color_scheme=scheme)
    page.press("k", "s", "n", "x")
    page.wait_for_badges("kept", "→ red", "not a class", "excluded")
    low = page.page.evaluate(CONTRAST)
    assert low == []


CONTRAST = """() => {
  const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (one) => { for (; one; one = one.parentElement) { const c = rgb(getComputedStyle(one).backgroundColor); if ((c[3] ?? 1) > 0.9) return c; } return [255, 255, 255]; };
  const low = [];
  for (const one of document.querySelectorAll("header *, .card *, #bar *")) {
    const words = [...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!words || !one.checkVisibility() || one.closest("legend, button:disabled, option")) continue;
    const [a, b] = [light(rgb(getComputedStyle(one).color)), light(behind(one))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) low.push([one.className || one.tagName, one.textContent, ratio.toFixed(2)]);
  }
  return low;
}"""


def test_from_findings_to_a_better_model(visit, dataset, path):
    """Labels are turned wrong, a model finds them, a person judges each by eye, and the next model is better."""
    features = np.stack([np.asarray(Image.open(one.place.path)).mean((0, 1)) for one in dataset.examples]) / 255
    truth, labels = dataset.labels, dataset.labels.copy()
    wrong = np.random.default_rng(0).choice(len(truth), 14, replace=False)
    labels[wrong] = (truth[wrong] + 1) % 3
    examples = [replace(one, label=dataset.classes[k]) for one, k in zip(dataset.examples, labels, strict=True)]
    dirty = replace(dataset, examples=tuple(examples))
    hashes = [content_hash(read_bytes(one.place)) for one in examples]

    def out_of_fold(labels):
        return cross_val_predict(LogisticRegression(), features, labels, method="predict_proba", cv=6)

    ids = tuple(one.id for one in examples)
    findings, table = disagreements([Predictions(out_of_fold(labels), labels, ids, dataset.classes)])
    page = visit(cases_of(findings, dirty, hashes=hashes, table=table), dirty)
    seen = {one.id: one.label for one in dataset.examples}
    for finding, suggested in zip(findings, table["suggested"], strict=True):
        (id,) = finding.ids
        label = dirty.examples[ids.index(id)].label
        page.press("k" if label == seen[id] else "s" if suggested == seen[id] else "r")
        if seen[id] not in (label, suggested):
            page.page.keyboard.type(seen[id])
            page.press("Enter")
    page.page.wait_for_function("words => document.getElementById('progress').textContent === words",
                                arg=f"{len(findings)} of {len(findings)} decided")  # fmt: skip
    mended, _ = apply(dirty, hashes, read(path))
    assert (mended.labels != truth).sum() < 14 / 2
    assert (out_of_fold(mended.labels).argmax(1) == truth).sum() > (out_of_fold(labels).argmax(1) == truth).sum()


def test_names_that_look_like_code_stay_words(visit, photos):
    name = "<img src=x onerror=document.title='owned'>"
    example = Example(f"{name}.png", Place(str(photos / "red" / "001.png")), name)
    case = Case(example.id, example.place, name, name, name, suggested=name, score=0.5)
    page = visit([case], Dataset(name, name, (example,), (name,)))
    page.press("Enter")
    page.page.wait_for_selector("#zoom-words b")
    assert page.page.title() != "owned"
    assert page.page.inner_text("#zoom-words b >> nth=0") == name
