"""The run's pictures as PNG files, for slides and papers; drawn without matplotlib's global state."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from linnaeus.verbs.report.evidence import Evidence
from linnaeus.verbs.report.language import LANGUAGES, Words
from linnaeus.verbs.report.matrix import shown_classes
from linnaeus.verbs.report.prose import shorten
from linnaeus.verbs.report.thumbnails import Shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, SOFT, LINE, LEAF, GOOD, BAD = "#1f2421", "#5d655f", "#e3e0d8", "#2e6b4a", "#2e7d4f", "#b3402f"
NUMBERED = 20
NAMED = 40
WORST_PAIRS = 12
MOST_WRONG = 25
COLUMNS = 5
MOST_DRAWN = 1000
"""Of more classes there are more fields than pixels: those of the most frequent mistakes are drawn."""
COMPRESSION = 2
"""Of the PNG files: the usual 6 takes four times as long and makes them a tenth smaller."""
HAN_FONTS = ("Noto Sans CJK SC", "Noto Sans CJK JP", "PingFang SC", "Microsoft YaHei", "WenQuanYi Micro Hei", "SimHei")
FONTS = ("DejaVu Sans", *HAN_FONTS, "Noto Sans Arabic", "Noto Sans", "Arial")


def write_pictures(evidence: Evidence, sample: Sequence[Shown], wrong: Sequence[Shown], words: Words) -> None:
    """Write pictures/NAME.png for everything that the run has numbers for.

    Without a font of Han characters on this machine they are in English, since boxes can be read by nobody.
    """
    assert evidence.run is not None
    words = words if words.code != "zh" or _has_han() else LANGUAGES["en"]
    part = words.part_pictures.get(evidence.part, "picture")
    drawings: dict[str, Callable[[], Figure]] = {}
    if _curves(evidence):
        drawings["learning_curves"] = lambda: learning_curves(evidence, words)
    if evidence.scores is not None:
        drawings["confusion"] = lambda: confusion(evidence, words)
        drawings["reliability"] = lambda: reliability(evidence, words)
        drawings["examples"] = lambda: grid(
            sample, words.pictures_by_hash.format(pictures=words.counted(len(sample), part)), words
        )
    if wrong:
        drawings["mistakes"] = lambda: grid(wrong[:MOST_WRONG], words.sure_and_wrong, words)
    with _style():
        for name, draw in drawings.items():
            draw().savefig(
                evidence.run.picture_path(name),
                dpi=140,
                facecolor="white",
                bbox_inches="tight",
                pad_inches=0.2,
                pil_kwargs={"compress_level": COMPRESSION},
            )


def learning_curves(evidence: Evidence, words: Words) -> Figure:
    """Draw loss and accuracy of train and val by epoch."""
    curves = _curves(evidence)
    figure = _figure(4.8 * len(curves), 3.4)
    for place, (what, lines) in enumerate(curves.items(), start=1):
        axes = figure.add_subplot(1, len(curves), place)
        for side, (xs, ys) in lines.items():
            axes.plot(
                xs,
                ys,
                color=SOFT if side == "train" else LEAF,
                linestyle="--" if side == "train" else "-",
                linewidth=1.4 if side == "train" else 2,
                marker="o" if len(xs) <= 30 else "",
                markersize=3,
                label=words.sides[side],
            )
        axes.set_title(words.curves[what], loc="left", fontweight="bold")
        axes.set_xlabel(words.epoch)
        if what == "accuracy":
            axes.yaxis.set_major_formatter("{x:.0%}")
        axes.legend(frameon=False)
        _calm(axes)
    return figure


def confusion(evidence: Evidence, words: Words) -> Figure:
    """Draw the confusion matrix, coloured by the share of each true class; with counts up to 20 classes."""
    assert evidence.scores is not None
    counts, K = evidence.scores.confusion, len(evidence.classes)
    right, everything = int(counts.trace()), int(counts.sum())
    if K > MOST_DRAWN:
        shown = shown_classes(counts)
        counts = counts[np.ix_(shown, shown)]
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = min(9.5, 2.8 + 0.46 * K)
    figure = _figure(side + 0.8, side)
    axes = figure.add_subplot()
    image = axes.imshow(share**0.5, cmap="Greens", vmin=0, vmax=1.15, interpolation="nearest")
    if K <= NUMBERED:
        for t, p in np.argwhere(counts):
            axes.text(
                p,
                t,
                f"{counts[t, p]}",
                ha="center",
                va="center",
                fontsize=9 if K <= 12 else 7.5,
                color="white" if share[t, p] ** 0.5 > 0.7 else INK,
            )
    if K <= NAMED:
        names = [shorten(name, 18) for name in evidence.classes]
        axes.set_xticks(range(K), names, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(K), names)
    axes.tick_params(length=0)
    axes.set_xlabel(words.pair_columns[1])
    axes.set_ylabel(words.pair_columns[0])
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=axes, fraction=0.04, pad=0.03, ticks=np.array([0, 0.1, 0.25, 0.5, 0.75, 1]) ** 0.5)
    bar.ax.set_yticklabels([words.percent(share, 0) for share in (0, 0.1, 0.25, 0.5, 0.75, 1)])
    bar.ax.set_ylim(0, 1)
    bar.outline.set_visible(False)
    axes.set_title(
        words.matrix_counts.format(
            right=words.whole(right), all=words.whole(everything), part=words.parts[evidence.part]
        ),
        loc="left",
        fontweight="bold",
    )
    if K > NAMED:
        axes.text(0, -0.09, _worst_pairs(evidence, words), transform=axes.transAxes, va="top", linespacing=1.5)
    return figure


def _worst_pairs(evidence: Evidence, words: Words) -> str:
    lines = [
        words.pair_of.format(
            true=shorten(one.true, 30), called=shorten(one.called, 30), count=one.count, support=one.support
        )
        for one in evidence.confusions(WORST_PAIRS)
    ]
    return "\n".join([words.frequent_mistakes, *lines])


def reliability(evidence: Evidence, words: Words) -> Figure:
    """Draw accuracy against confidence, each bin with its interval."""
    assert evidence.scores is not None
    figure = _figure(4.6, 4.4)
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color=SOFT, linestyle="--", linewidth=1)
    said = [one.confidence for one in evidence.bins]
    shares = [one.accuracy for one in evidence.bins]
    spread = [[one.value - one.low for one in shares], [one.high - one.value for one in shares]]
    axes.errorbar(said, [one.value for one in shares], yerr=spread, fmt="o", color=LEAF, elinewidth=1.6, markersize=5.5)
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel=words.reliability_axes[0], ylabel=words.reliability_axes[1])
    axes.xaxis.set_major_formatter("{x:.0%}")
    axes.yaxis.set_major_formatter("{x:.0%}")
    axes.set_title(
        f"{words.score('ece')[0]} {words.with_interval(evidence.scores.overall['ece'])}", loc="left", fontweight="bold"
    )
    _calm(axes)
    return figure


def grid(shown: Sequence[Shown], title: str, words: Words) -> Figure:
    """Draw pictures with the model's answer in green where it is right, and in red with the truth where not."""
    rows = -(-len(shown) // COLUMNS)
    figure = _figure(1.75 * COLUMNS, 2.18 * rows + 0.4)
    axes = figure.add_subplot()
    # One axes for all pictures: 25 axes would take most of the report's time.
    axes.set(xlim=(0, COLUMNS), ylim=(1.25 * rows, -0.02), aspect="equal")
    axes.axis("off")
    axes.set_title(title, loc="left", fontweight="bold")
    for place, one in enumerate(shown):
        _draw(axes, one, place % COLUMNS, 1.25 * (place // COLUMNS), words)
    axes.set(xlim=(0, COLUMNS - 0.06), ylim=(1.25 * rows - 0.03, -0.02))
    return figure


def _draw(axes: Axes, one: Shown, x: float, y: float, words: Words) -> None:
    extent = (x, x + 0.94, y + 0.94, y)
    if one.pixels is None:
        axes.imshow(np.full((1, 1), 0.9), cmap="gray", vmin=0, vmax=1, extent=extent)
        axes.text(x + 0.47, y + 0.47, words.kind(one.trouble), ha="center", va="center", fontsize=8, color=SOFT)
    else:
        axes.imshow(
            one.pixels,
            cmap="gray",
            vmin=0,
            vmax=255,
            extent=extent,
            interpolation="nearest" if one.tiny else "antialiased",
        )
    answer = f"{'✓' if one.right else '✗'} {shorten(one.called, 15)} {words.percent(one.confidence, 0)}"
    axes.text(x, y + 0.97, answer, va="top", fontsize=8.5, fontweight="bold", color=GOOD if one.right else BAD)
    if not one.right:
        axes.text(x, y + 1.08, words.it_is.format(name=shorten(one.true, 15)), va="top", fontsize=8.5, color=INK)


def _curves(evidence: Evidence) -> dict[str, dict[str, tuple[list[float], list[float]]]]:
    curves: dict[str, dict[str, tuple[list[float], list[float]]]] = {}
    for what in ("loss", "accuracy"):
        for side in ("train", "val"):
            seen = [
                (event.get("epoch", place + 1), event[f"{side}_{what}"])
                for place, event in enumerate(evidence.epochs)
                if event.get(f"{side}_{what}") is not None
            ]
            if seen:
                curves.setdefault(what, {})[side] = ([x for x, _ in seen], [y for _, y in seen])
    return curves


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="tight")


def _calm(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(LINE)
    axes.grid(color=LINE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)


def _has_han() -> bool:
    from matplotlib import font_manager

    return not {*HAN_FONTS}.isdisjoint(font_manager.get_font_names())


@contextmanager
def _style() -> Iterator[None]:
    """Set fonts and colours for a while; class names are text, whatever dollar signs they hold."""
    import matplotlib
    from matplotlib import font_manager

    known = set(font_manager.get_font_names())
    settings: Any = {
        "font.family": [name for name in FONTS if name in known],
        "font.size": 9.5,
        "text.parse_math": False,
        "text.color": INK,
        "axes.labelcolor": SOFT,
        "xtick.color": SOFT,
        "ytick.color": SOFT,
        "axes.titlesize": 11,
    }
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        # A script without an installed font is drawn as boxes here, and rightly in report.html.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
        yield
