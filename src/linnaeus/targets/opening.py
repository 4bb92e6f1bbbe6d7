"""Tell of what kind an exported file is."""

from __future__ import annotations

from pathlib import Path

from linnaeus.targets.registry import TARGETS
from linnaeus.targets.target import Target


def target_of(path: Path) -> Target | None:
    """Find the target that wrote a file or a folder, by its ending or by what is in the folder; None of anything else."""
    if path.is_dir():
        return next((one for one in TARGETS.values() if one.marker and (path / one.marker).is_file()), None)
    endings = {one.file.partition(".")[2]: one for one in TARGETS.values() if not one.marker}
    fitting = [ending for ending in endings if path.name.endswith(f".{ending}")]
    return endings[max(fitting, key=len)] if fitting else None
