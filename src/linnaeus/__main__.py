"""Let `python -m linnaeus` be the command."""

from linnaeus.cli import run

run()
