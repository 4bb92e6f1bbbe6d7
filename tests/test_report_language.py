import re
from collections.abc import Mapping
from string import Formatter

import pytest

from linnaeus.errors import SettingsError
from linnaeus.records import Estimate
from linnaeus.verbs.report.language import LANGUAGES, speak

ENGLISH, CHINESE = LANGUAGES["en"], LANGUAGES["zh"]
SHARE = Estimate(0.9296, 0.9002, 0.9509, 398, "wilson")


def given(words):
    """What the classes of one language say themselves, without what they take over from another."""
    mine = [
        one for one in type(words).__mro__ if one.__module__.split(".")[-1].startswith(type(words).__name__.lower())
    ]
    return {
        key: value
        for one in mine
        for key, value in vars(one).items()
        if not key.startswith("_") and not callable(value)
    }


def texts(value, above=""):
    """List (key, text) of everything that is said."""
    if isinstance(value, str):
        yield above, value
    elif isinstance(value, Mapping):
        for key, one in value.items():
            yield from texts(one, f"{above}.{key}")
    elif isinstance(value, tuple):
        for place, one in enumerate(value):
            yield from texts(one, f"{above}.{place}")


def places(text):
    return sorted(name for _, name, _, _ in Formatter().parse(text) if name)


def test_every_language_gives_every_key_itself():
    missing = given(ENGLISH).keys() ^ given(CHINESE).keys()
    assert missing == {"in_percent"}, "which scores are shares does not depend on the language"


def test_nested_keys_are_the_same_too():
    english, chinese = (dict(texts(given(words))) for words in (ENGLISH, CHINESE))
    assert english.keys() == chinese.keys()


def test_every_sentence_has_the_same_values_and_marks_in_each_language():
    english, chinese = (dict(texts(given(words))) for words in (ENGLISH, CHINESE))
    for key, text in english.items():
        assert places(text) == places(chinese[key]), key
        assert text.count("**") % 2 == 0
        assert chinese[key].count("**") == text.count("**"), key


def test_the_chinese_catalogue_is_chinese():
    same = {"ROC", "AUROC", "AURC", "mCE", "n", "F1", "Cohen’s kappa", "Grad-CAM", "Grad-CAM++", "Layer-CAM"}
    english, chinese = (dict(texts(given(words))) for words in (ENGLISH, CHINESE))
    copied = [
        key for key, text in chinese.items()
        if text == english[key] and re.search("[a-z]{3}", re.sub(r"\{\w+\}", "", text)) and text not in same
    ]  # fmt: skip
    assert all(key.startswith(".part_pictures") for key in copied), "keys into the nouns"
    assert not [
        key for key, text in chinese.items() if re.search(r"[\u4e00-\u9fff],|[\u4e00-\u9fff]\.$|[\u4e00-\u9fff]:", text)
    ]


def test_english_counts_and_chinese_does_not_need_to():
    assert ENGLISH.counted(1, "picture") == "1 picture"
    assert ENGLISH.counted(2521, "class") == "2,521 classes"
    assert CHINESE.counted(1, "picture") == "1 张图片"
    assert CHINESE.counted(2521, "file") == "2,521 个文件"


def test_intervals_are_written_as_is_usual():
    assert ENGLISH.with_interval(SHARE) == "93.0\u00a0% (90.0 to 95.1\u00a0%)"
    assert CHINESE.with_interval(SHARE) == "93.0%（90.0%～95.1%）"


def test_names_that_nobody_foresaw_keep_their_name():
    assert CHINESE.name("solar flare") == "solar flare"
    assert CHINESE.score("my_score") == ("My score", "")
    assert ENGLISH.headed("leak") == "Leak"


def test_small_p_values_are_not_written_as_zero():
    assert [ENGLISH.p_value(p) for p in (1e-9, 0.0312, 1.0)] == ["< 0.001", "0.031", "1"]


def test_a_language_that_there_is_not_is_an_error_that_lists_those_there_are():
    with pytest.raises(SettingsError, match="en, zh"):
        speak("tlh")
