"""Examples of use: some lines for each target, in the languages of those who use it, that lie beside the export.

The files end in .txt, so that no tool takes them for code of this package. A word in double braces stands for what the
card says: alone in a line for several lines, which are indented as it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from linnaeus.atomic import write_text
from linnaeus.targets.card import LABELS, Card
from linnaeus.targets.examples import resizing

WORD = re.compile(r"^( *)\{\{(\w+)\}\}$", re.MULTILINE)


def examples(target: str) -> dict[str, str]:
    """Give the examples of a target by file name, before anything is filled in; of an unknown one there are none."""
    folder = files(__package__) / target.replace("-", "_")
    if not folder.is_dir():
        return {}
    found = sorted((one for one in folder.iterdir() if one.name.endswith(".txt")), key=lambda one: one.name)
    return {one.name.removesuffix(".txt"): one.read_text(encoding="utf-8") for one in found}


def write_examples(target: str, folder: Path, card: Card) -> list[Path]:
    """Write the examples of a target beside an exported file, with the sizes of its pictures.

    Those in other languages than Python are for the usual form, uint8 [N, H, W, 3] of one size; of another only the
    Python ones are written.

    Args:
        target: Its name.
        folder: Where the exported file is, under its usual name.
        card: What the file says of itself.

    Returns:
        What was written, the table of the classes last; nothing for a target without examples.
    """
    usual = (card.layout == "nhwc" or target == "coreml") and not card.any_size
    blocks, words, written = _blocks(target, folder, card), _words(card), []
    for name, text in examples(target).items():
        if usual or name.endswith(".py"):
            write_text(folder / name, _filled(text, blocks, words))
            written.append(folder / name)
    if written:
        write_text(folder / LABELS, card.labels)
        written.append(folder / LABELS)
    return written


def _words(card: Card) -> dict[str, str]:
    """Say what a word within a line stands for."""
    how = card.preprocessing
    return {"size": str(how.size_px), "K": str(len(card.classes)), "magick": resizing.magick(how)}


def _blocks(target: str, folder: Path, card: Card) -> dict[str, tuple[str, ...]]:
    """Say what a word alone in a line stands for."""
    how = card.preprocessing
    found = {
        "read": _read(target, card),
        "sharp": resizing.node(how),
        "canvas": resizing.browser(how),
        "swift": resizing.swift(how),
        "kotlin": resizing.kotlin(how),
    }
    return found | _network(folder) if target == "state-dict" else found


def _read(target: str, card: Card) -> tuple[str, ...]:
    """Write the Python function that reads a picture; a bare network of grey pictures takes them grey."""
    how = card.preprocessing
    grey = target == "state-dict" and how.channels == 1
    planes = card.layout == "nchw" and target not in ("state-dict", "coreml")
    array = 'np.asarray(picture.convert("L"))[None, ..., None]' if grey else "np.asarray(picture)[None]"
    return (
        "def read(path):",
        "    picture = ImageOps.exif_transpose(Image.open(path))",
        '    if picture.mode.startswith("I"):  # 16 bits of grey',
        '        picture = Image.fromarray((np.asarray(picture) >> 8).astype("uint8"))',
        f'    background = Image.new("RGBA", picture.size, {(*how.background, 255)})',
        '    picture = Image.alpha_composite(background, picture.convert("RGBA")).convert("RGB")',
        *(f"    {line}" for line in ([] if card.any_size else resizing.python(how))),
        f"    return {f'np.ascontiguousarray({array}.transpose(0, 3, 1, 2))' if planes else array}",
    )


def _network(folder: Path) -> dict[str, tuple[str, ...]]:
    """Say how the network of a bare state_dict is made: with timm, or with Linnaeus where timm does not know it."""
    import timm

    config = json.loads((folder / "state_dict" / "config.json").read_text(encoding="utf-8"))
    name = config["architecture"]
    if ":" in name or config.get("linnaeus", {}).get("pruned"):
        # Its layers are known to the folder alone.
        made = 'model = Classifier.load(HERE / "state_dict").network'
        return {"import": ("from linnaeus.classifier import Classifier",), "create": (made,)}
    # Linnaeus' own networks are known to timm here, but not in a program that imports timm alone.
    if timm.is_model(name) and timm.models.model_entrypoint(name).__module__.startswith("timm."):
        made = 'model = timm.create_model(config["architecture"], num_classes=config["num_classes"], **config["model_args"])'
        return {"import": ("import timm",), "create": (made,)}
    return {
        "import": ("from linnaeus.nn import zoo",),
        "create": (
            'channels, size, _ = config["pretrained_cfg"]["input_size"]',
            'about = {"num_classes": config["num_classes"], "channels": channels, "size_px": size, "weights": "none"}',
            'model = zoo.create(config["architecture"], **about, options=config["linnaeus"]["options"])',
        ),
    }


def _filled(text: str, blocks: Mapping[str, tuple[str, ...]], words: Mapping[str, str]) -> str:
    def lines(found: re.Match[str]) -> str:
        return "\n".join(found[1] + line for line in blocks[found[2]])

    text = WORD.sub(lines, text)
    for word, meant in words.items():
        text = text.replace("{{" + word + "}}", meant)
    return text
