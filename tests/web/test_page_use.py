"""Everything that a user does with the page."""

import time

import numpy as np
import pytest

from linnaeus.records import Preprocessing
from linnaeus.targets.card import Card
from linnaeus.targets.web.page import write_page
from made_page import CLASSES
from web.page_actions import NO_RUNTIME, drop, give

# One worker runs all of them: the page is written once.
pytestmark = [pytest.mark.runtimes, pytest.mark.xdist_group("web")]


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


def test_what_was_cleared_while_it_was_looked_at_does_not_come_back(page, kinds):
    page.set_input_files("#files", [kinds["large.png"], kinds["large.jpg"], kinds["plain.png"]])
    page.evaluate("document.getElementById('clear').click()")
    give(page, kinds["tiny.png"])
    page.wait_for_timeout(300)
    assert page.locator("#rows tr button").all_inner_texts() == ["tiny.png"]


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
