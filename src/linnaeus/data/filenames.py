"""What a file name says: a picture, a hidden file, a side of a split."""

from __future__ import annotations

PICTURE_EXTENSIONS = frozenset(
    f".{name}"
    for name in ("jpg", "jpeg", "jpe", "jfif", "png", "webp", "avif", "bmp", "dib", "tif", "tiff", "gif", "mpo")
)
"""Lower-case endings of the files that are taken for pictures; whether they are is seen by decoding."""

SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
"""The words for the sides of a split, in any case, and what they mean."""

_HIDDEN = frozenset(
    {"thumbs.db", "desktop.ini", "__macosx", "icon\r", "$recycle.bin", "system volume information"}
    | {"@eadir", "#recycle", "@recycle", "lost+found"}
)


def is_picture_name(name: str) -> bool:
    """Tell whether a name or path ends like a picture, in any case."""
    dot = name.rfind(".")
    return dot >= 0 and name[dot:].lower() in PICTURE_EXTENSIONS


def is_hidden(name: str) -> bool:
    """Tell whether the last part of a path is of the system, not of the user: .DS_Store, ._x, Thumbs.db ..."""
    return name.startswith(".") or name.lower() in _HIDDEN


def split_of(word: str) -> str | None:
    """Translate "Training", "valid" ... into "train", "val" or "test"; None for any other word."""
    return SPLIT_WORDS.get(word.strip().lower())


def printable(name: str) -> str:
    r"""Write a file name that is not UTF-8 with \x.. for the odd bytes, so that it can be printed and stored."""
    if name.isascii():
        return name
    try:
        name.encode()
    except UnicodeEncodeError:
        return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return name
