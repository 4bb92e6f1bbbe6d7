"""The words of exported files and of smaller, faster versions in English."""

from __future__ import annotations

from collections.abc import Mapping

RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


class EnglishShipping:
    """What the sections on exports and on compression say."""

    milliseconds_sign = "\u00a0ms"
    megabytes_sign = "\u00a0MB"
    times_sign = "×"
    precisions: Mapping[str, str] = {"weights": "8-bit weights"}

    # Exports.
    export_told = (
        "Each file takes pictures as plain bytes (uint8, RGB) and gives the model’s probabilities; all that lies between is "
        "inside the file. File and model were asked about the same {pictures}, and their answers compared."
    )
    export_limit = "Equal means that no probability differs by more than {limit}, and that no answer changes."
    export_counts: Mapping[str, str] = {
        "equal": "Proved equal: **{n} of {files}**.",
        "free": "Of lower precision, and free to differ: {files} ({names}).",
        "failed": "**Failed, and not to be used: {files}** ({names}).",
        "not run": "Written, but not run on this machine: {files} ({names}).",
    }
    export_one = (
        "**For single pictures take {file}**: half of the calls took at most {p50}, 99\u00a0% at most {p99}. "
        "It lies in {path}."
    )
    export_many = "**For many take {file}**: {per_second} pictures a second, in batches of {batch}. It lies in {path}."
    export_both = (
        "**For single pictures and for many take {file}**: half of the calls with one picture took at most {p50}, "
        "99\u00a0% at most {p99}; in batches of {batch} it does {per_second} pictures a second. It lies in {path}."
    )
    export_faster = (
        "{file} takes only {p50} for one picture, but is not equal: its accuracy differs by {difference} percentage points "
        "({range})."
    )
    export_caption = "Exported files, the fastest first, and the accuracy of the model itself on the same pictures"
    export_columns = (
        ("File", ""),
        ("Verdict", ""),
        ("Largest difference", ""),
        ("Same answers", ""),
        ("Right", ""),
        ("The model", ""),
        ("Size", "(MB)"),
        ("Load", "(s)"),
        ("One picture", "(p50, ms)"),
        ("One picture", "(p99, ms)"),
        ("Many", "(per second)"),
    )
    export_verdicts: Mapping[str, str] = {
        "equal": "equal",
        "free": "may differ",
        "failed": "failed",
        "not run": "not run here",
    }
    no_files = "Nothing was exported."

    # Compression.
    compress_asked = "Asked for: **{targets}**, losing at most {drop} of accuracy."
    compress_asked_nothing = "Asked for: to lose **at most {drop}** of accuracy."
    compress_targets: Mapping[str, str] = {
        "latency": "{times} times as fast",
        "size": "a file {times} times smaller",
    }
    points_noun = ("{n} percentage point", "{n} percentage points")
    compress_tried = "Tried: {candidates}, all on the same {pictures}."
    compress_gate = (
        "A candidate passes where it is shown to lose less than that: the whole {level}\u00a0% interval of its difference from "
        "the model, picture by picture, lies above −{drop}. All candidates together share a chance of 5\u00a0% that one passes "
        "which should not. Passed: **{n} of {candidates}**."
    )
    compress_chosen = (
        "**Chosen: {name}**, run by {runtime}. It is **{faster} times as fast** as the model in its fastest runtime, with {p50} "
        "for one picture; its file has {size}, the model’s {size_before}. It names {accuracy} right, the model {before}: a "
        "difference of {difference} percentage points ({range}; {level}\u00a0% interval). It lies in {path}."
    )
    compress_none = "**None was chosen.**"
    compress_why = "Why: {why}"
    no_candidates = "Nothing was tried."
    the_model = "The model"
    chosen = "**chosen:** {name}"
    on_front = "on the front"
    verdict_words: Mapping[str, str] = {
        "passed": "passed",
        "worse": "loses too much",
        "not shown": "not shown either way",
    }
    front_title = "Accuracy against time for one picture"
    front_caption = "Accuracy against time for one picture; numbers as in the table"
    front_axes = ("time for one picture (p50, ms)", "named right")
    front_axes_log = ("time for one picture (p50, ms, logarithmic)", "named right")
    front_chart = (
        "Accuracy against the time for one picture. The model: {model}. The front, from fast to slow: {front}. "
        "The table has the numbers."
    )
    front_point = "{name}, {p50}, {accuracy} right"
    front_line = "front: none is both faster and better"
    front_key: Mapping[str, str] = {
        "passed": "passed",
        "failed": "did not pass",
        "original": "the model",
        "below": "further down",
        "bar": "95\u00a0% interval",
        "zone": "as asked for",
    }
    compress_caption = "All candidates, the fastest first"
    compress_columns = (
        ("Candidate", ""),
        ("Verdict", ""),
        ("Runtime", ""),
        ("Right", ""),
        ("Difference", "(points, {level}\u00a0%)"),
        ("One picture", "(p50, ms)"),
        ("Faster", ""),
        ("Size", "(MB)"),
        ("Smaller", ""),
    )
    more_columns = (
        ("Candidate", ""),
        ("One picture", "(p95, ms)"),
        ("Many", "(per second)"),
        ("Multiply-adds", "(millions)"),
        ("Parameters", "(millions)"),
    )
    more_summary = "Calibration, arithmetic and throughput of each"

    def precision(self, name: str) -> str:
        """Name what a file computes in."""
        return self.precisions.get(name, name)

    def amount(self, value: float) -> str:
        """Write "157", "15.7" or "1.57": three digits that mean something."""
        return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"

    def milliseconds(self, value: float) -> str:
        """Write "4.31 ms"."""
        return f"{self.amount(value)}{self.milliseconds_sign}"

    def megabytes(self, n: float) -> str:
        """Write bytes as "13.5 MB"."""
        return f"{self.amount(n / 1e6)}{self.megabytes_sign}"

    def times(self, factor: float) -> str:
        """Write "7.4×"."""
        return f"{factor:.1f}{self.times_sign}"

    def drop(self, share: float) -> str:
        """Write "1 percentage point" or "0.5 percentage points"."""
        points = f"{100 * share:.4g}"
        return self.points_noun[points != "1"].format(n=points)

    def tiny(self, value: float) -> str:
        """Write "0.012", or "2.3 × 10⁻⁶" of what is smaller."""
        if value >= 1e-3 or value <= 0:
            return f"{value:.2g}"
        digits, power = f"{value:.1e}".split("e")
        raised = f"10{str(int(power)).translate(RAISED)}"
        return raised if digits == "1.0" else f"{digits}\u00a0×\u00a0{raised}"
