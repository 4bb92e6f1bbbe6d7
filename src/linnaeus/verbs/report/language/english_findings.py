"""Every kind of finding in English: its title, what it means, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping

from linnaeus.verbs.report.language.english_words import EnglishWords


class EnglishFindings(EnglishWords):
    """What an audit may find, as docs/findings.md describes it."""

    findings: Mapping[str, tuple[str, str, str]] = {
        # Files.
        "missing": (
            "Missing file",
            "A list names a file that is not there.",
            "Get the file again, or take it off the list.",
        ),
        "unreadable": ("Unreadable file", "The file cannot be decoded.", "Get the file again."),
        "empty": ("Empty file", "The file holds no bytes.", "Get the file again."),
        "not a picture": (
            "Not a picture",
            "The file holds something else, or a format that is not read here.",
            "Convert it if it should be a picture; move it elsewhere if not.",
        ),
        "truncated": ("Truncated file", "The file ends before its picture does.", "Get the file again."),
        "odd mode": (
            "Values of no known meaning",
            "Its pixels cannot be turned into brightness without guessing.",
            "Save it as 8 bits of grey or colour.",
        ),
        "too large": (
            "Too large to be decoded",
            "It has more pixels or bytes than are allowed.",
            "Raise `data.max_pixels` if it is no accident.",
        ),
        "wrong extension": (
            "Wrong extension",
            "The name promises another format than the file has. It was read as what it is.",
            "Nothing, or rename it.",
        ),
        "turned": (
            "Turned by EXIF",
            "The camera was held sideways, and says so. The picture was turned upright.",
            "Nothing.",
        ),
        "unusual mode": (
            "Unusual colour mode",
            "Palette, CMYK, transparency, 16 bits or grey, where most others are not so.",
            "Look at one as the network will see it. Scale 16 bits to 8 yourself if your values use a part of the range.",
        ),
        "hidden files": (
            "Hidden files",
            "Files or folders with a dot in front were passed over.",
            "Check that no picture is among them.",
        ),
        "other files": (
            "Other files",
            "Files that are no pictures of a class lay there too.",
            "Check that nothing is missing.",
        ),
        "circular link": ("Circular link", "A link leads back to a folder that is read already.", "Nothing."),
        "shadowed name": (
            "Two things of that name",
            "What you typed names both a path and a data set that is built in.",
            "Check that the right one was taken.",
        ),
        "no label": ("No label", "The picture is there, but not its class.", "Give it a label, or leave it out."),
        "no class": (
            "In no class folder",
            "The picture lies beside the folders of the classes.",
            "Move it into the folder of its class.",
        ),
        "bad row": ("Row that cannot be read", "A row of the list lacks something, or has too much.", "Mend the row."),
        "repeated row": (
            "Repeated row",
            "The list names this file more than once; the first row counts.",
            "Take the others out.",
        ),
        "repeated name": (
            "Repeated name",
            "The archive holds more than one file of this name; the first counts.",
            "Give each file a name of its own.",
        ),
        "outside the splits": (
            "Beside train, val and test",
            "The picture lies in none of the given parts.",
            "Move it into one of them.",
        ),
        # Pictures unlike the rest.
        "near-uniform": (
            "Nearly of one colour",
            "There is next to nothing to be seen in it.",
            "Exclude it: it shows nothing.",
        ),
        "dark": (
            "Very dark",
            "Even its light parts are dark, unlike in most others.",
            "Exclude it if you see nothing yourself.",
        ),
        "bright": (
            "Very bright",
            "Even its dark parts are light, unlike in most others.",
            "Exclude it if you see nothing yourself.",
        ),
        "blurred": ("Blurred", "Even its sharpest part is soft.", "Exclude it if the subject cannot be told."),
        "low information": ("Low information", "It has hardly any grey levels.", "Look whether it shows the class."),
        "odd shape": (
            "Odd shape",
            "It is far longer than wide, or the other way round.",
            "Look at it as the network will: when cropped, its ends are cut off.",
        ),
        "tiny": ("Tiny", "It has far fewer pixels than the network is shown.", "Find a larger one."),
        "very large": ("Very large", "It has far more pixels than the others.", "Shrink a copy, if looking is slow."),
        # Copies.
        "copies": (
            "Identical files",
            "The same bytes twice, in one class. They stay on one side of the split.",
            "Nothing.",
        ),
        "same pixels": (
            "Identical pixels",
            "Other bytes, the same picture, in one class. They stay on one side of the split.",
            "Nothing.",
        ),
        "near-duplicates": (
            "Near-duplicates",
            "Resized, saved again, cropped, mirrored or lightened copies. They stay on one side of the split.",
            "Nothing.",
        ),
        "conflict": (
            "One picture, several labels",
            "The same picture has different labels. None of them is used.",
            "Decide which label is right.",
        ),
        "near-duplicate conflict": (
            "Near-duplicates with different labels",
            "Nearly the same picture has different labels: one may be wrong.",
            "Look at them side by side.",
        ),
        "leak": (
            "Leak between the parts",
            "The same picture or group is in training and in the test. The test then flatters the model.",
            "Move them to one side.",
        ),
        # Labels.
        "likely wrong label": (
            "Likely wrong labels",
            "A network that was trained on the other pictures is sure of another class.",
            "Look at them one by one and relabel what is wrong.",
        ),
        "noisy class": (
            "Noisy class",
            "Many labels of one class are likely wrong.",
            "Ask how it was labelled; look through all of it.",
        ),
        "overlapping classes": (
            "Overlapping classes",
            "Pictures of two classes are taken for each other.",
            "Define the classes more clearly, or join them.",
        ),
        "outlier": ("Unlike all others", "Its nearest neighbours are far away.", "Look whether it belongs here."),
        "label not checked": ("Label not checked", "Its class has too few pictures for that.", "Collect more."),
        "model disagrees": (
            "The model says otherwise",
            "Trained without this picture, it is sure of another class.",
            "Look at it, and relabel it if it is wrong.",
        ),
        # Shortcuts.
        "shortcut": (
            "Shortcut",
            "Something trivial gives the class away, so a network need not look at what is shown.",
            "Collect all classes in the same way, or hold out whole sources; test where it does not hold.",
        ),
        "class in file name": (
            "Class in the file name",
            "File names hold the name of their class.",
            "Nothing: a network does not see names.",
        ),
        # Balance.
        "empty class": ("Empty class", "A class has no picture.", "Collect pictures of it, or take it out."),
        "small class": ("Small class", "A class has too few pictures to learn from or to be split.", "Collect more."),
        "single class": (
            "A single class",
            "All pictures are of one class: there is nothing to tell apart.",
            "Add a second class.",
        ),
        "similar class names": (
            "Similar class names",
            "Names differ in case, in Unicode form or in blanks only.",
            "Join them, if they are one class.",
        ),
        "imbalance": (
            "Imbalance",
            "Some classes have many times the pictures of others.",
            "Look at balanced accuracy and at the recall of each class; let training weigh the classes.",
        ),
        "few test pictures": (
            "Few test pictures",
            "Of some classes too few are tested for their recall to be known.",
            "Collect more, or cross-validate.",
        ),
        "group is a class": (
            "A group is nearly a whole class",
            "One group holds most of a class: the network may learn the group.",
            "Add pictures of the class from other groups.",
        ),
        "groups of one class": (
            "Groups of one class",
            "More groups hold a single class than chance explains.",
            "Look what marks these groups; count groups, not pictures.",
        ),
        # Splits and drift.
        "unknown class": (
            "Class without training pictures",
            "It is tested or validated, but never learned.",
            "Move some of it to training.",
        ),
        "not tested": (
            "Not tested",
            "There are no test pictures of it, so it gets no score.",
            "Move some of it to the test part.",
        ),
        "copies not looked for": (
            "Near-duplicates not looked for",
            "Pictures that are nearly the same may be learned and tested.",
            "Train without split.copies = false.",
        ),
        "not validated": (
            "Not validated",
            "It has no say in choosing and calibrating the model.",
            "Move some of it to the validation part.",
        ),
        "drift": (
            "The test differs from training",
            "Test pictures can be told from training pictures.",
            "Ask which of both the classifier will meet.",
        ),
        "given split": (
            "Given split not followed",
            "The source gives a split of its own, which is not used here.",
            "Nothing.",
        ),
        "held out": ("Held out", "These pictures are the test part, as you asked.", "Nothing."),
        "no time": (
            "Time not known",
            "It is not known when these were taken, so they were not held out.",
            "Check that none of them belongs to the test.",
        ),
        "copy of a held-out picture": (
            "Copies of held-out pictures",
            "They were left out, so that nothing of the test is trained on.",
            "Nothing.",
        ),
        "near-duplicate of a held-out picture": (
            "Near-duplicates of held-out pictures",
            "They were left out, so that nothing of the test is trained on.",
            "Nothing.",
        ),
        "group is held out in part": (
            "Rest of a held-out group",
            "Another part of its group is tested, so it was left out.",
            "Hold out whole groups, if it should be used.",
        ),
        "no group": (
            "No group",
            "It is not known to which group these belong: each is split by itself.",
            "Check the rule that names groups.",
        ),
        "large group": (
            "Large group",
            "One group holds so much that the split cannot keep to its shares.",
            "Check the rule that names groups.",
        ),
        "single groups": (
            "Groups of one picture",
            "Every picture is a group of its own: nothing is tied together.",
            "Check the rule that names groups.",
        ),
        # Reviews.
        "cleaned": (
            "Left out of training",
            "Their labels are likely wrong, so training left them out. Validation and test keep theirs.",
            "Look at them one by one and relabel what is wrong.",
        ),
        "excluded by review": ("Excluded by review", "A person decided that it is not to be used.", "Nothing."),
        "not a class": ("Of no class", "A person decided that it shows none of the classes.", "Nothing."),
        "relabelled by review": ("Relabelled by review", "A person gave it another label, which is used.", "Nothing."),
        "correction followed": (
            "Moved since the review",
            "It was found by its content under another name.",
            "Nothing.",
        ),
        "correction not applied": (
            "Correction not applied",
            "What was decided in review no longer fits the data.",
            "Review these again.",
        ),
    }
    unknown_finding = ("", "", "See the evidence.")
    """For a kind that a later version finds."""
    severities: Mapping[str, str] = {"set aside": "set aside", "warning": "warning", "note": "note"}

    def finding(self, kind: str) -> tuple[str, str, str]:
        """Give title, meaning and advice; a kind that is not known keeps its name."""
        title, means, advice = self.findings.get(kind, self.unknown_finding)
        return title or self.headed(kind), means, advice
