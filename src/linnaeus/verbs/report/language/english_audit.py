"""The words of an audit in English."""

from __future__ import annotations

from collections.abc import Mapping

from linnaeus.verbs.report.language.english_findings import EnglishFindings


class EnglishAudit(EnglishFindings):
    """What the audit's sections say, in a run's report and on a page of its own."""

    audit_title = "{name}: audit of a picture data set"
    audit_subtitle = "audit of a picture data set"
    audit_missing = "The data have not been audited closely yet; {command} does it."
    audit_sections: Mapping[str, tuple[str, str]] = {
        "answer": ("The answer", "Answer"),
        "findings": ("What was found", "Findings"),
        "labels": ("Can the labels be trusted?", "Labels"),
        "shortcuts": ("Does something trivial give the class away?", "Shortcuts"),
        "balance": ("How evenly are the classes filled?", "Balance"),
        "drift": ("Is the test like the training?", "Drift"),
        "enough": ("Are there enough pictures?", "Enough?"),
        "files": ("What became of every file", "Files"),
    }
    audit_unreadable = "This part has a form that this report does not know: {error}. Make it again with this version."
    not_asked = "This was not asked, or there were too few pictures for it."

    # The answer.
    no_account = "How many files there are was not recorded."
    to_decide = "To be decided on: **{kinds}**."
    to_know = "For the record: {kinds}."
    mend_title = "What to mend first"
    mend_one = "**{title}** ({count}): {advice}"
    mend_it = "To look at the pictures and decide, in the browser:"
    nothing_to_mend = "**Nothing was found that has to be mended.**"
    no_findings = "Nothing was noticed."

    # Findings.
    advice = "**What to do:** {advice}"
    more_findings = "{n} more of this kind"
    more_in_table = "{n} more are in audit.csv."
    in_a_set = "{ids} together"
    more_sets = "{n} more sets"
    given_suggested = "{label} → {suggested}"
    with_quality = "quality {quality}"
    these_pictures = "{pictures} by name"
    found_columns = ("Picture", "Label", "Suggested", "Quality of the label")

    # Labels.
    labels_told = (
        "{checked} labels were checked, each by models that had not seen its picture. **{likely}** are likely wrong."
    )
    labels_wrong = "Of all labels, about {wrong} are wrong."
    labels_grown = (
        "The models were fitted in an earlier audit, to {fitted} pictures (since then: {new} new, {gone} gone, {relabelled} with "
        "another label); little has changed, so they were not fitted again."
    )
    noise_caption = "Share of wrong labels in each class, the noisiest first"
    noise_columns = ("Class", "Wrong", "Likely wrong")
    overlaps_title = "Classes that overlap"
    overlap_columns = ("Classes", "Taken for the other", "Labelled as the other")
    overlap_pair = "{first} and {second}"
    no_overlaps = "No two classes overlap."

    # Shortcuts.
    shortcuts_told = (
        "Small trees were trained on trivial features alone and asked for the class of {pictures} that they had not seen. "
        "The fine line is chance: guessing, or the same answers with shuffled labels, whichever is better."
    )
    shortcuts_far = "**Far above chance: {families}.**"
    shortcuts_none = "**None is far above chance.**"
    shortcut_columns = ("What", "From the", "Named right by it", "Chance", "Skill")
    family_far = "**far above chance:** {what}"
    derived: Mapping[str, str] = {"file": "file", "pixels": "picture"}
    families: Mapping[str, str] = {
        "size": "size", "aspect ratio": "aspect ratio", "file type": "file type", "file name": "file name",
        "folder": "folder", "camera": "camera", "time": "time", "colour": "colour", "border": "border",
        "light": "light", "all of the file": "all of the file together", "everything": "everything together",
    }  # fmt: skip
    shortcut_model = "For comparison, the model itself has {accuracy} right."

    # Balance.
    balance_told = "{classes}, as varied as **{effective}** equally large ones."
    balance_ratio = "The largest has **{ratio}** times as many pictures as the smallest."
    balance_caption = "Pictures of each class, the largest first"
    pictures_head = "Pictures"

    # Drift.
    drift_told = (
        "A classifier that should tell test pictures from training pictures has an AUROC of **{auroc}**; 0.5 means that it "
        "cannot (p {p})."
    )
    drift_by = "Traits that differ most"
    drift_columns = ("Trait", "In both parts", "AUROC", "p, corrected")

    # Enough.
    enough_axes = ("training pictures", "named right")
    enough_title = "Accuracy by number of training pictures"
    enough_chart = (
        "Accuracy of a linear head by number of training pictures, with 95 % intervals; dashed: with twice as many."
    )
    measured = "measured"
    extrapolated = "extrapolated"
    enough_now = "A linear head on a network's features has {accuracy} right."
    enough_twice = "Twice the pictures would bring about **{gain}** percentage points ({range})."
    enough_half = "To halve the errors, about **{n}** pictures would be needed."
    enough_never = "The errors will not be halved by more pictures of this kind alone."
    enough_columns = ("Training pictures", "Named right")

    # Files.
    files_columns = ("What became of it", "Files", "What it means")
    found_row = "found"
    used_row = "used"
