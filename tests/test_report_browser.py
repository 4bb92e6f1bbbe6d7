"""The page as a browser shows it: what a parser cannot see."""

import pytest

from linnaeus.verbs.report import report
from made_results import made_results
from test_report import make_run


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A page in each language."""
    folder = tmp_path_factory.mktemp("browser")
    run = make_run(
        folder, ("apple", "banana", "a cherry with quite a long name, longer than a phone is wide"), each=60, skill=2.0
    )
    for verb, found in made_results(run.predictions("test")).items():
        run.write_result(verb, found)
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("linnaeus.verbs.report.pictures.write_pictures", lambda *_: None)
        for language in ("en", "zh"):
            found[language] = report(run, language).rename(folder / f"{language}.html").as_uri()
    return found


@pytest.fixture
def show(browser, pages):
    """Open a page and fail on anything that the browser complains of: show("en", width=360)."""
    complaints, opened = [], []

    def open_it(language="en", **options):
        page = browser(**options)
        opened.append(page)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(pages[language])
        return page

    yield open_it
    for page in opened:
        page.context.close()
    assert complaints == []


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("width", [360, 800])
def test_nothing_sticks_out_sideways(show, language, width):
    page = show(language, width=width)
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_without_scripts_everything_is_there_but_the_tools(show):
    page = show(java_script_enabled=False)
    assert page.locator("form:visible, .seen:visible").count() == 0
    assert page.locator(".thumbnails figure:visible").count() > 25
    assert "Some thresholds of the curve" in page.locator("#abstention").inner_text()
    assert page.locator("svg.matrix title").count() > 9


def test_without_scripts_the_matrix_still_changes_its_view(show):
    page = show(java_script_enabled=False)
    cell = page.locator('.cell[data-t="0"][data-p="0"]')
    assert "%" not in cell.locator("text:visible").text_content()
    page.locator('input[value="column"]').check()
    assert "%" in cell.locator("text:visible").text_content()


def test_mistakes_are_filtered_by_class_and_confidence(show):
    page = show()
    figures = page.locator(".filterable figure:visible")
    every = figures.count()
    name = page.locator(".filter select[name=t] option").nth(1).inner_text()
    page.locator(".filter select[name=t]").select_option(label=name)
    assert 0 < figures.count() < every
    assert all(name[:20] in text for text in figures.locator(".truth").all_inner_texts())
    assert page.locator(".filter .found").inner_text() == f"{figures.count()} of {every} shown"
    page.locator(".filter input[name=sure]").fill("60")
    assert all(float(one.get_attribute("data-sure")) >= 0.6 for one in figures.all())
    assert figures.count() < every


def test_pointing_at_a_field_shows_its_pair_and_its_pictures(show):
    page = show()
    one = page.locator(".filterable figure").first
    t, p = one.get_attribute("data-t"), one.get_attribute("data-p")
    page.locator(f'.cell[data-t="{t}"][data-p="{p}"]').hover()
    seen = page.locator(".seen")
    assert "taken for" in seen.locator(".pair").inner_text()
    assert seen.locator("img").count() > 0
    assert all(
        seen.locator("figure").nth(k).get_attribute("data-p") == p for k in range(seen.locator("figure").count())
    )


def test_the_matrix_is_walked_with_the_arrow_keys(show):
    page = show()
    page.locator('.cell[tabindex="0"]').focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("[document.activeElement.dataset.t, document.activeElement.dataset.p]") == ["1", "1"]
    assert page.locator(".seen .pair").inner_text().startswith("banana: ")


def test_the_slider_tells_risk_and_coverage_with_the_interval(show):
    page = show()
    slider = page.locator(".threshold input")
    first = page.locator(".threshold .said").inner_text()
    assert "it answers 100.0" in first
    slider.fill(slider.get_attribute("max"))
    assert page.locator(".threshold .said").inner_text() != first


def test_the_first_stop_of_the_keyboard_skips_to_the_answer(show):
    page = show()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#answer"
    page.keyboard.press("Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_what_is_folded_away_is_printed(show):
    page = show()
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details[open]").count() == 0
    page.emulate_media(media="print")
    assert page.locator("nav:visible, form:visible").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_from_the_ground(show, scheme):
    page = show(color_scheme=scheme)
    colours = page.evaluate("""() => ["--ink", "--soft", "--leaf", "--bad", "--paper"].map(name => {
        const probe = document.body.appendChild(document.createElement("i"));
        probe.style.color = `var(${name})`;
        return getComputedStyle(probe).color.match(/\\d+/g).map(Number);
    })""")

    def luminance(colour):
        parts = [c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    *inks, paper = map(luminance, colours)
    for ink in inks:
        assert (max(ink, paper) + 0.05) / (min(ink, paper) + 0.05) >= 4.5
