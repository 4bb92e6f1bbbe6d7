"""Every word of the report, in one place per language: the same keys in each."""

from __future__ import annotations

from linnaeus.errors import SettingsError
from linnaeus.verbs.report.language.chinese import Chinese
from linnaeus.verbs.report.language.english import English

Words = English
"""What every language has: English is the pattern, and the others say the same."""

LANGUAGES: dict[str, Words] = {"en": English(), "zh": Chinese()}


def speak(language: str) -> Words:
    """Choose a language by its code.

    Raises:
        SettingsError: There is none of that code.
    """
    if language not in LANGUAGES:
        raise SettingsError(
            f"the report's language should be one of {', '.join(LANGUAGES)}.",
            got=repr(language),
            fix="take --lang en or --lang zh.",
        )
    return LANGUAGES[language]


__all__ = ["LANGUAGES", "Words", "speak"]
