import pytest

from linnaeus.verbs.report.prose import Code, Name, as_html, as_markdown, as_plain, joined, say

HOSTILE = "<script>alert(1)</script>"


def test_strong_words_may_hold_values():
    told = say("about **{n} right** of {all}", n="93", all="100")
    assert as_html(told) == "about <strong>93 right</strong> of 100"
    assert as_markdown(told) == "about **93 right** of 100"
    assert as_plain(told) == "about 93 right of 100"


def test_a_value_is_never_read_as_markup():
    told = say("it is {name}", name=HOSTILE)
    assert as_html(told) == "it is &lt;script&gt;alert(1)&lt;/script&gt;"
    assert "<" not in as_markdown(told).replace(r"\<", "")


def test_a_value_is_never_read_as_a_place_for_a_value():
    assert as_plain(say("{name}", name="{0} {name} **x**")) == "{0} {name} **x**"
    assert as_html(say("{name}", name="**x**")) == "**x**"


def test_sentences_stand_in_sentences():
    inner = say("**{x}**", x=Name("a&b"))
    assert as_html(joined(["1", inner], ", ")) == '1, <strong><bdi class="class">a&amp;b</bdi></strong>'


def test_a_name_is_cut_and_whole_in_its_title():
    html = as_html(Name('"é' * 60), 10)
    assert html.startswith('<bdi class="class" title="&#34;é')
    assert html.endswith("…</bdi>")


def test_code_survives_backquotes_and_table_borders_in_markdown():
    assert as_markdown(Code("a`b|c")) == r"`` a`b\|c ``"


@pytest.mark.parametrize(
    "name", ["# heading", "- item", "1. item", "[x](y)", "![x](y)", "a|b", "http://x", "> quote", "@team", "a\n\n# b"]
)
def test_a_name_does_nothing_in_markdown(name):
    text = as_markdown(name)
    assert not text.startswith(("#", "-", "1. ", ">", "!", "@"))
    assert "](" not in text.replace(r"\]", "")
    assert "://" not in text
    assert "\n" not in text
    assert "|" not in text.replace(r"\|", "")
