"""The command line: parse, call the verb, print. Data goes to stdout, talk to stderr."""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import sys
from io import TextIOWrapper

from linnaeus import malloc

# Each module adds its own commands.
from linnaeus.cli import (  # noqa: F401
    audit,
    benchmark,
    compare,
    compress,
    doctor,
    evaluate,
    explain,
    export,
    models,
    plan,
    predict,
    report,
    review,
    stress,
    train,
)
from linnaeus.cli.app import app
from linnaeus.errors import LinnaeusError

__all__ = ["app", "main", "run"]


def main() -> None:
    """Run the command line; exit codes: 0 done, 1 our bug, 2 the user's input, 3 a check failed, 130 stopped."""
    # A million objects are imported, and stay: looking through them for garbage every 700 takes a tenth of starting.
    gc.set_threshold(20_000, 10, 10)
    malloc.share_freed_memory()
    for stream in (sys.stdin, sys.stdout):
        if isinstance(stream, TextIOWrapper):
            # Paths need not be UTF-8: they come and go as the bytes that they are.
            stream.reconfigure(errors="surrogateescape")
    try:
        app(result_action="return_none")
        if sys.stdout is not None:
            sys.stdout.flush()
    except LinnaeusError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("stopped.", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        # The reader (head, less) has what it wanted; python would complain again when closing stdout.
        sys.stdout = None
        sys.exit(0)
    except OSError as error:
        # Without a number it is some library's own, not the system's.
        if error.errno is None:
            raise
        refused = _refused(error)
        print(f"error: {refused}", file=sys.stderr)
        sys.exit(refused.exit_code)


def run() -> None:
    """Be the program: `main`, and then leave at once."""
    code: int | str | None = 1

    def leave() -> None:
        # Nobody needs a million objects taken apart one by one: half a second, and Triton would list what it finds not freed.
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                if stream is not None:
                    stream.flush()
        os._exit(code if isinstance(code, int) else 1)

    # The first to be registered is the last to be called.
    atexit.register(leave)
    try:
        main()
        code = 0
    except SystemExit as end:
        code = 0 if end.code is None else end.code
        raise


def _refused(error: OSError) -> LinnaeusError:
    """Say what the system would not do."""
    return LinnaeusError(
        f"{error.filename or 'a file'} cannot be read or written.",
        got=error.strerror or str(error),
        fix="check permissions, free space and the length of the name.",
    )
