"""The errors that a user can cause: each names the place, the rule, what was got, and the smallest change that mends it."""

from __future__ import annotations

import shlex


class LinnaeusError(Exception):
    """A mistake in the input, told so that it can be mended.

    Args:
        rule: The place and the rule, as one sentence: "photos/ should hold pictures, one folder per class."
        got: What was found instead.
        fix: The smallest change that mends it. It suggests, it never chooses.
    """

    exit_code = 2

    def __init__(self, rule: str, *, got: str = "", fix: str = "") -> None:
        super().__init__(rule)
        self.rule, self.got, self.fix = rule, got, fix

    def __str__(self) -> str:
        lines = [self.rule]
        if self.got:
            lines.append(f"  got: {self.got}")
        if self.fix:
            lines.append(f"  fix: {self.fix}")
        return "\n".join(lines)


class SettingsError(LinnaeusError):
    """A setting, an option or a recipe that does not hold."""


class SourceError(LinnaeusError):
    """A source of pictures that cannot be used as a whole."""


class PictureError(LinnaeusError):
    """One picture that cannot be read; `reason` is one of `PictureError.REASONS`."""

    REASONS = ("missing", "unreadable", "empty", "not a picture", "truncated", "too large", "odd mode")

    def __init__(self, reason: str, detail: str = "", picture: str = "") -> None:
        assert reason in self.REASONS, reason
        super().__init__(": ".join(filter(None, (picture, reason, detail))))
        self.reason, self.detail, self.picture = reason, detail, picture

    def of(self, picture: str) -> PictureError:
        """Name the picture, where no column of a table does."""
        return PictureError(self.reason, self.detail, picture)


class DownloadError(LinnaeusError):
    """Data or weights that could not be fetched, or did not have the promised checksum."""


class ModelError(LinnaeusError):
    """A network, weights or a model folder that cannot be used."""


class UnfitError(ModelError):
    """A means of making a network smaller that this network offers no hold to."""


class RunError(LinnaeusError):
    """A run folder that is not what the command needs."""


class NonFiniteError(LinnaeusError):
    """Training produced NaN or infinity; the message names where it began."""


class CheckFailed(LinnaeusError):
    """A check said no: parity, a gate, `--strict`."""

    exit_code = 3


class Interrupted(LinnaeusError):
    """The user stopped the training; everything is saved.

    Args:
        run: The folder of the run.
        command: What goes on with it; by default `train --resume`.
    """

    exit_code = 130

    def __init__(self, run: str, *, command: str = "") -> None:
        command = command or f"linnaeus train --resume {shlex.quote(run)}"
        super().__init__("stopped; the state is saved.", fix=f"go on with: {command}")
