"""The words of the evidence in English."""

from __future__ import annotations

from collections.abc import Mapping

from linnaeus.verbs.report.language.english_words import EnglishWords


class EnglishEvidence(EnglishWords):
    """What the sections after the answer say."""

    missing: Mapping[str, str] = {
        "ranking": "There are no ROC and precision-recall curves yet; {command} makes them.",
        "calibration": "Calibration before and after has not been compared yet; {command} does it.",
        "abstention": "What it gains by keeping silent has not been measured yet; {command} does it.",
        "slices": "No search for weak kinds of pictures yet; {command} makes it.",
        "explain": "There are no explanations yet; {command} makes them.",
        "stress": "It has not been tested with damaged pictures, small changes and attacks yet; {command} does it.",
        "export": "It has not been exported to other formats yet; {command} does it, and compares each file with the model.",
        "compress": "No smaller or faster version has been looked for yet; {command} does it.",
    }
    unreadable = "{file} has a form that this report does not know: {error}. Make it again with this version."
    none = "none"
    all = "All"
    more_rows = "{n} more are not shown here."
    the_numbers = "The numbers"
    and_others = "and {n} more"

    # Data.
    none_aside = "{found} found, {used} used. Not one was set aside."
    some_aside = (
        "{found} found, {used} used, {aside} set aside ({reasons}). "
        "Every file is accounted for; none was changed or replaced."
    )
    aside_summary = "{files} set aside, with reasons"
    aside_columns = ("File", "Reason", "What was seen")
    more_aside = "{n} more are in {file}."
    noticed_summary = "{things} of the audit"
    with_ids = "{told} ({ids})"
    all_counts = "Pictures of each of the {classes}"
    class_ = "Class"
    counts_caption = "Pictures of each class that are used"
    decision_columns = ("Setting", "Value", "Reason")
    nothing_decided = "Every setting was given; nothing was left to decide."

    # Learning.
    curves: Mapping[str, str] = {"loss": "Loss", "accuracy": "Accuracy"}
    sides: Mapping[str, str] = {"train": "train", "val": "val"}
    epoch = "epoch"
    curve_alt = "{what} by epoch. {course}."
    course = "{side} from {start} to {end}"
    point = "{side}, epoch {epoch}: {value}"
    healthy_curves = (
        "A healthy pair of curves falls (loss) or rises (accuracy) together. Where train goes on getting better and val "
        "does not, the network learns its pictures by heart."
    )
    kept_epoch = "The weights that were kept are those of epoch {epoch}, the fine vertical line."
    stopped = "It ended because: {reason}."
    no_epochs = (
        "There are no epochs to show: only the network's last layer was solved, in one go, on features of a network trained "
        "before."
    )

    # Scores and ranking.
    scores_told = (
        "On the {part}. Each score has its 95 % interval: with other pictures of the same kind, it could as well have come "
        "out anywhere in there."
    )
    score_columns = ("Score", "Value", "95 % interval", "n")
    class_by_class = "Class by class"
    class_columns = (
        ("Found", "(recall, %)"),
        ("Right when named", "(precision, %)"),
        ("F1", "(%)"),
        ("Pictures", "(support)"),
    )
    report_caption = "Classification report"
    worst_classes = "The {n} classes of which the fewest were found"
    all_classes = "All {classes}"
    ranking_told = (
        "Each class against all others, over every threshold: AUROC is the chance that a picture of the class gets a higher "
        "probability than one that is not; mean over the classes {auroc}. Average precision sums up the precision-recall "
        "curve and is the stricter one for rare classes; mean {ap}."
    )
    ranking_axes: Mapping[str, tuple[str, str, str]] = {
        "roc": ("ROC", "false alarms", "found (recall)"),
        "precision_recall": ("Precision and recall", "found (recall)", "right when named (precision)"),
    }
    ranking_chart = "Curves of the classes that are hardest to tell from the rest; the table below has the numbers."
    ranking_caption = "By average precision, the lowest first"

    # Confusion.
    matrix_told = "Rows are what a picture is, columns what the model said. On the diagonal it was right."
    matrix_clustered = (
        "Rows are what a picture is, columns what the model said; on the diagonal it was right. Classes that are taken for "
        "each other stand together, so that mistakes show as blocks beside the diagonal."
    )
    matrix_part = "Shown are the {n} classes with the most mistakes among them, of {all}."
    matrix_views: Mapping[str, str] = {
        "count": "counts",
        "row": "share of the row (recall)",
        "column": "share of the column (precision)",
    }
    matrix_title = "Confusion matrix"
    matrix_desc = "{classes}: {right} of {all} on the diagonal, which is right. The tables have the numbers."
    cell_right = "{true}: {count} right ({row} of the row, {column} of the column)"
    cell_wrong = "{true} taken for {called}: {count} ({row} of the row, {column} of the column)"
    frequent_mistakes = "Most frequent mistakes"
    pair_columns = ("It is", "The model said", "Times", "Of")
    matrix_as_table = "The matrix as a table"

    # Calibration.
    reliability_told = (
        "Each dot stands for as many pictures as the others, sorted by how sure the model was. On the broken line, it is "
        "right exactly as often as it says. Below the line it is too sure, above it too modest. Bars are 95 % intervals."
    )
    reliability_title = "Reliability"
    reliability_axes = ("what the model said (confidence)", "how often it was right")
    reliability_alt = "Accuracy against confidence; the table below has the numbers."
    bin_words = "Said {confidence}, right {accuracy} ({interval}), {pictures}"
    bin_columns = ("It said", "It was right", "Interval", "Pictures")
    ece_told = "Calibration error: **{ece}**."
    temperature_told = "The model divides its logits by a temperature of {temperature}, fitted on the validation part."
    calibration_chosen = (
        "Of {n} ways of calibrating, the one with the lowest cross-validated log loss was taken: **{method}**."
    )
    before = "Before"
    after = "After"
    method = "Method"
    cross_validated = "Log loss, cross-validated"
    tried_summary = "What was tried"

    # Abstention.
    risk_told = (
        "The model answers the pictures of which it is most sure, and keeps silent on the rest. The fewer it answers, the "
        "fewer of its answers are wrong. Area under this curve, 0 is best: {aurc}."
    )
    error = "wrong among the answers"
    risk_title = "Error among the answers"
    risk_chart = "Error by the share of pictures that are answered, with its interval; the table has the numbers."
    risk_axes = ("pictures answered (coverage)", "wrong among the answers (risk)")
    risk_columns = ("Answers only above", "Answers", "Wrong among them")
    risk_caption = "Some thresholds of the curve"
    slider = (
        "Answering only where it is at least {threshold} sure, it answers **{coverage}**, of which **{risk}** are wrong "
        "({low} to {high})."
    )
    promises_title = "Promised errors"
    promises_told = (
        "A threshold that holds its promise for new pictures like these with {level} confidence, for this number of pictures "
        "and not only in the limit."
    )
    promise_columns = ("Wrong answers", "Threshold", "Answers", "Wrong, as measured")
    at_most = "at most {share}"
    not_possible = "not possible"
    sets_title = "Sets of classes instead of one"
    sets_told = (
        "A set holds the true class as often as promised. Where the model is sure, the set is one class; where not, it says "
        "between which it wavers."
    )
    set_columns = ("Method", "Promised", "Held the true class", "Classes in a set", "Sets of one class")
    class_by_class_sets = "{method}, fitted class by class"
    set_classes = "Held the true class, class by class"
    unknown_title = "Pictures of none of the classes"
    unknown_missing = "Whether it notices pictures of something else has not been measured in this run."
    unknown_told = (
        "Whatever looks unlike all training pictures is answered with “unknown”, by the score {chosen}. False alarms on "
        "pictures of its own classes: {alarms}."
    )
    unknown_caption = "How well pictures of its classes are told from others (AUROC), and the share of others noticed"
    detector = "Score"
    detected_row = "Noticed at the threshold"

    # Slices.
    slices_told = (
        "{tested} kinds of pictures were compared with the rest. On {worse} of them the model is worse by more than chance "
        "explains, with p-values corrected by {correction} for the number of comparisons."
    )
    slices_even = (
        "{tested} kinds of pictures were compared with the rest. On none is the model worse by more than chance explains, "
        "with p-values corrected by {correction} for the number of comparisons."
    )
    slice_columns = ("Pictures of this kind", "n", "Right", "Elsewhere", "Difference", "p, corrected")
    slice_worse = "**worse:** {what}"
    slice_wrong = "wrong: {ids}"
    all_slices = "All {n} kinds"

    # Pictures.
    some_pictures = "{pictures}"
    by_hash = (
        "Chosen by a hash of their names, without regard to how they turned out. The number is how sure the model was."
    )
    sure_and_wrong = "Wrong answers of which it was most sure"
    look_first = "Look here first: some of these may be wrongly labelled, others show what the model does not see."
    examples_alt = "Example pictures with the model's answers"
    mistakes_alt = "Pictures that the model got wrong"
    no_mistakes = "None: every picture of the {part} was named right."
    all_mistakes = "{answers} as a list"
    mistake_columns = ("Picture", "It is", "The model said", "Sure")

    # Explanations.
    believe = "Of the methods, **{method}** is the one to believe here: see the checks."
    believe_none = "None of the methods passed the checks: take these maps as pictures, not as reasons."
    checks_caption = "Checks of the maps. A map that stays the same when the weights are random explains nothing"
    check_columns = (
        ("Method", ""),
        ("Same with random weights", "0 is best"),
        ("Deletion", "0 is best"),
        ("Insertion", "1 is best"),
        ("Time", "per picture"),
    )
    explained_kinds: Mapping[str, str] = {
        "right": "Named right",
        "wrong": "Named wrong",
        "least certain": "Least certain",
    }
    explained_right = "{predicted}, {confidence} sure, and right: {id}"
    explained_wrong = "{predicted}, {confidence} sure, but it is {label}: {id}"
    the_picture = "the picture"
    neighbour = "in training: {name} ({similarity})"
    more_maps = "{n} more are in the run's folder."

    # Robustness.
    stress_clean = "Undamaged: {clean} right."
    stress_told = (
        "{pictures}, damaged in the ways of ImageNet-C, each at five strengths. Undamaged {clean} right; on average over all "
        "damage {mean}; mean corruption error {mce}. It is weakest against **{weakest}**."
    )
    corruption = "Damage"
    stress_caption = "Right (%) by strength, with 95 % intervals"
    strength_title = "Accuracy by strength of the damage"
    strength_chart = (
        "Mean accuracy of each group of corruptions by strength; 0 is undamaged. The table has the numbers."
    )
    strength_axes = ("strength", "named right")
    shifts_title = "Small changes"
    shifts_told = "A person would not change the answer. How often does the model?"
    shift = "{kind}, {strength} {unit}"
    shift_columns = ("Change", "Answer flips", "Right")
    attacks_title = "Attacks"
    attacks_told = "Noise that is computed to deceive this very model, too small to be seen at these radii."
    attack_columns = ("Attack", "Norm", "Radius", "Steps", "Still right")
    certified_title = "Certified"
    certified_told = (
        "By randomised smoothing (sigma {sigma}): no change of the picture "
        "within the L2 radius can alter these answers."
    )
    certified_chart = "Share that is right and certified, by radius."
    certified_axes = ("L2 radius", "right and certified")
    certified_columns = ("L2 radius", "Right and certified")

    # Provenance.
    in_all = "{seconds} in all"
    stage = "Stage"
    time = "Time"
    network = "Network"
    seen = "How the network sees a picture"
    facts = "Provenance"
    every_setting = "Every setting as used"
    settings = "Settings"
    outside_provenance = "Only predictions were given: no training, split or pictures stand behind this page."
