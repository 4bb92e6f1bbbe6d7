"""The report in English."""

from __future__ import annotations

from collections.abc import Mapping

from linnaeus.verbs.report.language.english_audit import EnglishAudit
from linnaeus.verbs.report.language.english_evidence import EnglishEvidence
from linnaeus.verbs.report.language.english_shipping import EnglishShipping


class English(EnglishEvidence, EnglishAudit, EnglishShipping):
    """The page itself, the answer, and the model card.

    `{value}` is a place for a value, `**` begins and ends what is strong.
    """

    code = "en"
    html_lang = "en"
    page_title = "{name}: report of a picture classifier"
    subtitle = "picture classifier"
    outside_subtitle = "predictions from outside"
    skip = "Skip to the answer"
    contents = "Contents"
    footer = "Written by Linnaeus. This page is complete in itself: it loads nothing and sends nothing."
    card_alt = "This picture cannot be shown: {trouble}"
    chart_alt = "Chart"
    accuracy_alt = "Accuracy {accuracy}; guessing gives {guess}"
    it_is = "it is {name}"
    right_sign = "named right"
    wrong_sign = "named wrong"
    filter_true = "It is"
    filter_called = "The model said"
    filter_sure = "Sure of it, at least"
    filter_any = "any"
    filter_shown = "{n} of {all} shown"
    filter_title = "Filter the mistakes"
    matrix_show = "Show"
    cell_hint = "Point at a field, or move to it with the arrow keys, to see its pictures here."
    cell_none = "None of the pictures on this page is of this kind."
    slider_label = "Answer only above"
    pictures_by_hash = "{pictures}, chosen by hash"
    matrix_counts = "{right} of {all} right ({part})"
    pair_of = "{true} taken for {called}: {count} of {support}"

    sections: Mapping[str, tuple[str, str]] = {
        "answer": ("The answer", "Answer"),
        "data": ("The data", "Data"),
        "audit": ("What is wrong with the data?", "Audit"),
        "decisions": ("What was decided, and why", "Decisions"),
        "learning": ("How it learned", "Learning"),
        "scores": ("Scores", "Scores"),
        "ranking": ("Each class against the rest", "Ranking"),
        "confusion": ("What is taken for what", "Confusion"),
        "calibration": ("Can its probabilities be trusted?", "Probabilities"),
        "abstention": ("“I don’t know”", "Abstention"),
        "slices": ("Where is it worse than elsewhere?", "Slices"),
        "mistakes": ("See for yourself", "Pictures"),
        "explain": ("What does it look at?", "Explanations"),
        "stress": ("What can it stand?", "Robustness"),
        "export": ("Is it the same in other formats?", "Exports"),
        "compress": ("Can it be smaller and faster?", "Compression"),
        "card": ("Model card", "Model card"),
        "provenance": ("Where this comes from", "Provenance"),
    }

    # The answer.
    named_right = "of {pictures} named right"
    with_confidence = "{interval} with 95 % confidence"
    by_guessing = "{share} by guessing"
    task = "This model looks at a picture and says which of {classes} it shows: {names}."
    and_more = "{names} and {n} more"
    not_judged = "No labelled picture was kept for judging it, so nothing can be said of how good it is."
    fit: Mapping[str, str] = {
        "alone": "It is **good for sorting pictures like these by itself**, with a person who looks at samples.",
        "first": "It is **good for a first sorting** that a person looks through, or where a mistake costs little.",
        "hint": "It is **good for a hint, not for a decision**: a person should look at every picture.",
        "none": "It is **not shown to be good for anything yet**.",
    }
    quality = "Of {of} new pictures like these, it names **about {right} right** (with 95 % confidence between {low} and {high})."
    rests_on: Mapping[str, str] = {
        "test": "This rests on {pictures}, which it never saw in training.",
        "val": "This rests on {pictures}, which were also used to choose it.",
        "outside": "This rests on {pictures}; whether the model saw them in training, their table does not say.",
    }
    guessing = "Always answering the commonest class, {name}, would be right for {share} of 100."
    no_better = "**These pictures do not show that the model does better than that.**"
    no_mistake = "It made no mistake on these pictures; that does not mean that it never will: see the intervals."
    weakest = "It **fails most often on** {name}: it found {hits} of {support}, which is {recall}."
    commonest_mistake = "Its most frequent mistake is to take {true} for {called}, {count} of {support} times."
    worst_slice = "It is worse on pictures of this kind: {what}, with {accuracy} right against {rest} elsewhere."
    weakest_against = (
        "Of all damage to a picture, {kind} hurts it most: at full strength {accuracy} right, undamaged {clean}."
    )
    trust = (
        "Its probabilities **{verdict}**: on average they are {points} percentage points away from how often it is right "
        "({low} to {high})."
    )
    verdicts: Mapping[str, str] = {
        "word": "can be taken at their word",
        "guide": "can be taken as a rough guide",
        "sure": "should not be taken at their word: it is too sure of itself",
        "modest": "should not be taken at their word: it is too modest",
    }
    promise_kept = (
        "If it answers only where it is at least {threshold} sure, it answers {coverage} of the pictures, and at most "
        "{error} of those answers are wrong, which holds with {level} confidence."
    )
    before_you_rely = "Before you rely on it"
    warning = "{kind}: {evidence}"
    more_warnings = "{n} more: see the data."
    unaccounted = "{found} files were found, but {told} are accounted for."
    not_ended = "The run has not come to its end."
    no_test_part = (
        "There is no test part: the scores are of the validation part and a little too good. Calibration and promises were "
        "made from the same pictures: what is measured of them here holds for no others."
    )
    few_pictures = "Only {pictures} to judge it by: the intervals are wide."
    few_of_a_class = "Fewer than {n} pictures to judge {names} by: their rows say little."
    next_title = "What to do next"
    look_at_mistakes = "Look at the {answers} of which it was over {share} sure: wrong labels hide there."
    add_pictures = "Add training pictures of {name}, above all such as could be taken for {called}."
    judge_by_more = "Judge it by more pictures: with {more} instead of {n}, the interval would be half as wide."
    ask_next: Mapping[str, str] = {
        "stress": "Find out how it stands noise, blur, small shifts and attacks: {command}",
        "explain": "See what it looks at: {command}",
    }
    use_it = "Name pictures of your own: {command}"

    # The model card.
    card_told = "For those who did not train it. Everything here was measured or recorded; what was not is said so."
    card_heads: Mapping[str, str] = {
        "model": "Model",
        "use": "Meant for",
        "not": "Not meant for",
        "data": "Learned from",
        "measured": "Measured",
        "probabilities": "Probabilities",
        "limits": "Known limits",
        "unknown": "Not measured",
        "people": "People and fairness",
    }
    card_use = "Naming pictures that show one of {classes}, taken as those were that it learned from."
    card_not = (
        "Pictures of anything else: it has to choose one of its classes. Decisions about people. Anything where a mistake "
        "harms somebody and nobody looks."
    )
    card_data = "{source}: {train} for training, {val} for validation, {test} for testing."
    card_measured = "{accuracy} of {pictures} named right."
    verdicts_alone: Mapping[str, str] = {
        "word": "Can be taken at their word.",
        "guide": "A rough guide.",
        "sure": "Too sure of itself: not to be taken at their word.",
        "modest": "Too modest: not to be taken at their word.",
    }
    card_class = "{name} {recall}"
    card_limits = "Classes of which the fewest were found: {classes}."
    card_unknown = "{sections}."
    card_people = (
        "Nothing is recorded of who is in the pictures, of their consent or of their licence. Whoever publishes the model "
        "has to know."
    )
    card_parameters = "{n} parameters"
    card_outside = "Not recorded: only its predictions are known."
