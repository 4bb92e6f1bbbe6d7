"""Numbers, nouns and names in English."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from linnaeus.records import Estimate
from linnaeus.verbs.report.prose import Text, joined, say


class EnglishWords:
    """How numbers are written, what things are called, and how words are put together."""

    between = " "
    comma = ", "
    semicolon = "; "
    percent_sign = "\u00a0%"
    to = "{low} to {high}"
    and_ = "{names} and {last}"
    in_brackets = "{value} ({interval})"
    points_words = "{value} percentage points ({low} to {high})"
    seconds_sign = "\u00a0s"

    nouns: Mapping[str, tuple[str, str]] = {
        "picture": ("{n} picture", "{n} pictures"),
        "training picture": ("{n} training picture", "{n} training pictures"),
        "test picture": ("{n} test picture", "{n} test pictures"),
        "validation picture": ("{n} validation picture", "{n} validation pictures"),
        "class": ("{n} class", "{n} classes"),
        "file": ("{n} file", "{n} files"),
        "finding": ("{n} finding", "{n} findings"),
        "kind": ("{n} kind of finding", "{n} kinds of findings"),
        "wrong answer": ("{n} wrong answer", "{n} wrong answers"),
        "candidate": ("{n} candidate", "{n} candidates"),
    }
    parts: Mapping[str, str] = {"train": "training", "val": "validation", "test": "test", "outside": "given"}
    part_pictures: Mapping[str, str] = {
        "train": "training picture",
        "val": "validation picture",
        "test": "test picture",
        "outside": "picture",
    }
    on_part: Mapping[str, str] = {
        "train": "training part",
        "val": "validation part",
        "test": "test part",
        "outside": "given predictions",
    }

    scores: Mapping[str, tuple[str, str]] = {
        "accuracy": ("Accuracy", "share of pictures named right"),
        "balanced_accuracy": ("Balanced accuracy", "mean over classes of the share found; each class counts the same"),
        "weighted_accuracy": (
            "Weighted accuracy",
            "the same mean weighted by class size: equals accuracy by definition",
        ),
        "top5_accuracy": ("Top-5 accuracy", "share where the right name is among the five most probable"),
        "macro_f1": ("Macro F1", "mean F1 of the classes; each class counts the same"),
        "micro_f1": ("Micro F1", "F1 over all answers together: equals accuracy by definition"),
        "weighted_f1": ("Weighted F1", "mean F1 of the classes, weighted by class size"),
        "macro_precision": ("Macro precision", "mean over classes of the share that was right when named"),
        "weighted_precision": ("Weighted precision", "the same mean, weighted by class size"),
        "cohen_kappa": ("Cohen's kappa", "agreement beyond what the class sizes alone would give; 1 is perfect"),
        "mcc": ("Matthews correlation", "1 is perfect, 0 is guessing; fair to unequal classes"),
        "kappa": ("Cohen’s kappa", "agreement beyond chance; 1 is perfect, 0 is chance"),
        "log_loss": ("Log loss", "how little probability the right name got; 0 is best"),
        "brier": ("Brier score", "squared error of the probabilities, 0 to 2; 0 is best"),
        "ece": ("Calibration error (ECE)", "mean distance between confidence and accuracy; 0 is best"),
        "ece_debiased": ("Calibration error, debiased", "the same without what chance alone adds; 0 is best"),
        "classwise_ece": (
            "Calibration error by class",
            "the same for every probability, not only the highest; 0 is best",
        ),
        "auroc": ("AUROC", "chance that a picture of the class ranks above another; 1 is best"),
        "average_precision": ("Average precision", "area under precision and recall; 1 is best"),
        "macro_auroc": ("Macro AUROC", "mean AUROC of the classes; 1 is best"),
        "macro_average_precision": ("Macro average precision", "mean of the classes; 1 is best"),
        "aurc": ("AURC", "area under risk and coverage; 0 is best"),
        "mce": ("mCE", "mean corruption error; 0 is best"),
    }
    in_percent = frozenset(
        {
            "accuracy",
            "balanced_accuracy",
            "weighted_accuracy",
            "top5_accuracy",
            "ece",
            "ece_debiased",
            "classwise_ece",
            "mce",
        }
    )
    kinds: Mapping[str, str] = {
        kind: kind
        for kind in (
            "missing", "unreadable", "empty", "not a picture", "truncated", "too large", "odd mode", "conflict", "copies",
            "near copies", "leak", "wrong extension", "turned", "empty class", "small class", "single class", "no label",
            "other files", "hidden files", "circular link", "shadowed name", "no test", "no validation", "wrong label",
            "no room", "not in the split", "same pixels", "near-duplicates", "near-duplicate conflict",
            "correction followed", "correction not applied", "relabelled by review",
        )
    }  # fmt: skip
    names: Mapping[str, str] = {
        name: name
        for name in (
            "noise", "blur", "weather", "digital", "gaussian noise", "shot noise", "impulse noise", "defocus blur",
            "glass blur", "motion blur", "zoom blur", "snow", "frost", "fog", "brightness", "contrast",
            "elastic transform", "pixelate", "jpeg compression", "rotation", "shift", "translation", "rescaling",
            "scale", "jpeg quality", "degrees", "pixels", "quality", "patch", "temperature", "vector", "isotonic", "none",
            "occlusion", "integrated gradients", "energy", "max-logit", "mahalanobis", "nearest neighbours", "blank",
            "inverted", "digits", "open", "audit", "split", "plan", "head", "frozen stages", "train", "evaluate",
            "report", "all epochs done", "zoom", "max logit", "sharpness", "entropy", "colourfulness", "width",
            "height", "megapixels", "format", "folder", "group", "groups", "features", "labels",
        )
    } | {
        "elastic": "elastic deformation",
        "jpeg": "JPEG compression",
        "percent of the side": "% of the side",
        "factor": "times",
        "jpeg quality": "JPEG",
        "grad-cam": "Grad-CAM",
        "grad-cam++": "Grad-CAM++",
        "layer-cam": "Layer-CAM",
        "integrated-gradients": "integrated gradients",
        "lime": "LIME",
        "shap": "SHAP",
        "uniform_area": "uniform area",
        "border_uniformity": "border uniformity",
        "aspect_ratio": "aspect ratio",
        "area": "share of the picture",
        "jpeg compression": "JPEG compression",
    }  # fmt: skip

    def whole(self, n: int) -> str:
        """Write "2,521"."""
        return f"{n:,}"

    def decimal(self, value: float, digits: int = 3) -> str:
        """Write "0.215"."""
        return f"{value:.{digits}f}"

    def percent(self, share: float, digits: int = 1) -> str:
        """Write "93.0 %"."""
        return f"{100 * share:.{digits}f}{self.percent_sign}"

    def seconds(self, seconds: float) -> str:
        """Write "45.1 s"."""
        return (
            f"{seconds:,.1f}{self.seconds_sign}"
            if seconds >= 0.1 or seconds == 0
            else f"{seconds:.3f}{self.seconds_sign}"
        )

    def range(self, low: float, high: float, digits: int = 1) -> str:
        """Write the interval of a share."""
        return self.to.format(low=f"{100 * low:.{digits}f}", high=f"{100 * high:.{digits}f}") + self.percent_sign

    def bare_range(self, one: Estimate) -> str:
        """Write "72–81", where a column says that it is percent."""
        return f"{100 * one.low:.0f}–{100 * one.high:.0f}"

    def interval(self, one: Estimate) -> str:
        """Write "90.0 to 95.1 %"."""
        return self.range(one.low, one.high)

    def span(self, one: Estimate, digits: int = 3) -> str:
        """Write "0.146 to 0.288"."""
        return self.to.format(low=f"{one.low:.{digits}f}", high=f"{one.high:.{digits}f}")

    def with_interval(self, one: Estimate) -> str:
        """Write a share with its interval."""
        return self.in_brackets.format(value=self.percent(one.value), interval=self.interval(one))

    def value_of(self, name: str, one: Estimate) -> tuple[str, str]:
        """Write a score and its interval, in percent where it is a share."""
        if name in self.in_percent:
            return self.percent(one.value), self.interval(one)
        return self.decimal(one.value), self.span(one)

    def value_with_interval(self, name: str, one: Estimate) -> str:
        """Write a score with its interval behind it."""
        value, interval = self.value_of(name, one)
        return self.in_brackets.format(value=value, interval=interval)

    def points(self, one: Estimate) -> str:
        """Write a difference of shares in percentage points."""
        low, high = f"{100 * one.low:.1f}", f"{100 * one.high:.1f}"
        return self.points_words.format(value=f"{100 * one.value:.1f}", low=low, high=high)

    def signed_points(self, difference: float) -> str:
        """Write "−7.2"."""
        return f"{100 * difference:+.1f}".replace("-", "−")

    def signed_range(self, one: Estimate) -> str:
        """Write "−13.0 to −1.4"."""
        return self.to.format(low=self.signed_points(one.low), high=self.signed_points(one.high))

    def p_value(self, p: float) -> str:
        """Write "0.03" or "< 0.001"."""
        return "< 0.001" if p < 0.001 else f"{p:.2g}" if p < 0.995 else "1"

    def radius(self, radius: float, norm: str) -> str:
        """Write L-infinity radii as they are usually named, in 255ths, and areas in percent."""
        if norm == "area":
            return self.percent(radius)
        return f"{255 * radius:.3g}/255" if norm.lower() in ("linf", "l-inf") and radius <= 1 else f"{radius:.3g}"

    def counted(self, n: int, noun: str) -> str:
        """Write "1 picture" or "2,521 pictures"."""
        return self.nouns[noun][n != 1].format(n=self.whole(n))

    def listed(self, texts: Sequence[Text]) -> Text:
        """Write "a, b and c"."""
        if len(texts) < 2:
            return joined(texts)
        return say(self.and_, names=joined(texts[:-1], self.comma), last=texts[-1])

    def score(self, name: str) -> tuple[str, str]:
        """Name a score and say what it means; one that is not known keeps its name."""
        return self.scores.get(name, (name.replace("_", " ").capitalize(), ""))

    def name(self, name: str) -> str:
        """Name a method, a corruption, a stage; one that is not known keeps its name."""
        return self.names.get(name, name)

    def kind(self, kind: str) -> str:
        """Name what an audit noticed."""
        return self.kinds.get(kind, kind)

    def headed(self, kind: str) -> str:
        """Name what an audit noticed, at the beginning of a line."""
        name = self.kind(kind)
        return name[:1].upper() + name[1:]

    def slice_name(self, trait: str, what: str) -> str:
        """Name a slice: the traits in words, the values as they are."""
        for name in trait.split(" and "):
            what = what.replace(name, self.name(name), 1)
        return what
