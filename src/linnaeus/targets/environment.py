"""Environments made on demand, for what cannot live beside the rest: kept in the cache, whole or not there at all."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path

from linnaeus.data.folders import build_once, default_cache_dir
from linnaeus.errors import ModelError

Say = Callable[[str], None]
_TOLD = 12
"""So many last lines of a tool's message are passed on."""


def _silent(_line: str) -> None:
    """Say nothing."""


_listener: ContextVar[Say] = ContextVar("listener", default=_silent)


@contextlib.contextmanager
def said_to(say: Say) -> Iterator[None]:
    """Send what is said about environments to `say`, which takes one line for a person."""
    token = _listener.set(say)
    try:
        yield
    finally:
        _listener.reset(token)


def python_environment(
    name: str,
    requirements: Sequence[str],
    no_deps: Sequence[str] = (),
    *,
    title: str = "",
    size_mb: int = 0,
    say: Say | None = None,
) -> Path:
    """Make a Python environment, unless it was made before, of the Python version that runs this.

    Args:
        name: Short, for the folder.
        requirements: Packages as pip takes them, with pinned versions.
        no_deps: Packages to install without what they ask for.
        title: What it is for, as people call it.
        size_mb: About how much is fetched.
        say: Where to say so; None: where `said_to` says.

    Returns:
        Its python.

    Raises:
        ModelError: There is neither uv nor pip, or a package cannot be had.
    """
    python = Path("Scripts/python.exe") if os.name == "nt" else Path("bin/python")
    version = ".".join(map(str, sys.version_info[:2]))
    folder = _folder(name, ["python", version, sys.base_prefix, *sorted(requirements), "no deps", *sorted(no_deps)])
    build = functools.partial(
        _build_python, place=python, requirements=requirements, no_deps=no_deps, what=title or name
    )
    return _made(folder, python, build, title or name, size_mb, say) / python


def node_environment(
    name: str, packages: Mapping[str, str], *, title: str = "", size_mb: int = 0, say: Say | None = None
) -> Path:
    """Make a folder with packages for node, unless it was made before.

    Args:
        name: Short, for the folder.
        packages: Name to exact version.
        title: What it is for, as people call it.
        size_mb: About how much is fetched.
        say: Where to say so; None: where `said_to` says.

    Returns:
        The folder that holds node_modules; node itself is `node()`.

    Raises:
        ModelError: There is no node or npm, or a package cannot be had.
    """
    what = title or name
    node(what)
    folder = _folder(name, ["node", *sorted(f"{package}@{version}" for package, version in packages.items())])
    return _made(
        folder, Path("node_modules"), functools.partial(_build_node, packages=packages, what=what), what, size_mb, say
    )


def node(what: str) -> str:
    """Find node.

    Args:
        what: What needs it, for the message.

    Raises:
        ModelError: It is not installed.
    """
    return _tool("node", what, "install Node.js 18 or newer, which brings node and npm.")


def _folder(name: str, parts: Sequence[str]) -> Path:
    key = hashlib.sha256("\0".join([*parts, sys.platform, platform.machine()]).encode()).hexdigest()[:12]
    return default_cache_dir() / "environments" / f"{name}-{key}"


def _made(folder: Path, sign: Path, build: Callable[[Path], None], what: str, size_mb: int, say: Say | None) -> Path:
    """Return an environment that has `sign`; the Python below an old one may have been removed."""
    if (folder / sign).exists():
        return folder
    if folder.is_dir():
        shutil.rmtree(folder, ignore_errors=True)
    about = f", about {size_mb} MB" if size_mb else ""
    (say or _listener.get())(f"making an environment for {what}; once{about}")
    return build_once(folder, build)


def _build_python(folder: Path, *, place: Path, requirements: Sequence[str], no_deps: Sequence[str], what: str) -> None:
    uv, python = _uv(), str(folder / place)
    if not uv and importlib.util.find_spec("pip") is None:
        raise ModelError(f"{what} needs uv or pip, to make its environment.", got="neither", fix="pip install uv")
    # Nothing in the folder may know its own path, since it is renamed when it is done.
    make = [*uv, "venv", "--relocatable", "--python"] if uv else []
    _call(
        [*make, sys.executable, str(folder)] if uv else [sys.executable, "-m", "venv", "--without-pip", str(folder)],
        what,
    )
    install = (
        [*uv, "pip", "install", "--python", python]
        if uv
        else [sys.executable, "-m", "pip", "--python", python, "install"]
    )
    if requirements:
        _call([*install, *requirements], what)
    if no_deps:
        _call([*install, "--no-deps", *no_deps], what)


def _uv() -> list[str]:
    if found := shutil.which("uv"):
        return [found]
    return [sys.executable, "-m", "uv"] if importlib.util.find_spec("uv") is not None else []


def _build_node(folder: Path, *, packages: Mapping[str, str], what: str) -> None:
    npm = _tool("npm", what, "install Node.js 18 or newer, which brings node and npm.")
    about = {"name": "environment", "private": True, "dependencies": dict(packages)}
    (folder / "package.json").write_text(json.dumps(about))
    # Without a lock file nothing is kept of where the packages came from.
    quietly = ["--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
    _call([npm, "install", *quietly], what, folder)


def _tool(name: str, what: str, fix: str) -> str:
    found = shutil.which(name)
    if not found:
        raise ModelError(f"{what} needs {name}.", got=f"no {name} on this machine", fix=fix)
    return found


def _call(command: Sequence[str], what: str, folder: Path | None = None) -> None:
    """Run a tool, silently.

    Raises:
        ModelError: It failed; the message holds the last lines of what it said.
    """
    strangers = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")
    environment = {name: value for name, value in os.environ.items() if name not in strangers}
    done = subprocess.run(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace"
    )
    if done.returncode:
        said = [line for line in (done.stdout + "\n" + done.stderr).splitlines() if line.strip()]
        raise ModelError(
            f"the environment for {what} could not be made.",
            got="\n".join(said[-_TOLD:]) or f"exit code {done.returncode}",
            fix="it is fetched once, from a package registry: try again with a network.",
        )
