"""Classifier: what was learned, and how to ask it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import numpy as np
import torch
from safetensors.numpy import load_file as load_arrays
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load_file, save_file
from torch import nn

from linnaeus.atomic import whole, write_text
from linnaeus.data.decode import middle, picture_to_stored, prepare
from linnaeus.errors import ModelError, PictureError
from linnaeus.learn.engine import Engine, one_torch_thread
from linnaeus.learn.infer import infer
from linnaeus.metrics.abstention import UNKNOWN, Judged, Judgement
from linnaeus.metrics.calibration import Calibration
from linnaeus.metrics.unknown import Seen
from linnaeus.model_folder import CODE, CONFIG, JUDGEMENT, WEIGHTS, find_model
from linnaeus.nn import own_code, zoo
from linnaeus.nn.head import both, features, linear_head
from linnaeus.nn.input import FromBytes
from linnaeus.nn.reshape import reshape
from linnaeus.records import Preprocessing

FORMAT = 1
_WITH_FEATURES: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


@dataclass(frozen=True)
class Classifier:
    """A network with everything that its answers depend on.

    Attributes:
        network: Gives logits [N, K] for normalised pictures [N, C, H, W].
        architecture: The network's name, as `linnaeus models` knows it.
        classes: K names, in the order of the network's outputs.
        preprocessing: How a picture becomes the network's input.
        calibration: Makes probabilities of logits; fitted on validation pictures.
        judgement: What it takes to say "I don't know"; None of a model that had too few validation pictures.
        options: Keyword arguments the network was made with.
        pruned: Channels or blocks were taken out of the network: its layers have the sizes of its tensors.
        about: Data fingerprint, versions, seed, scores ...: whatever describes the training.

    Example:
        >>> classifier = linnaeus.load("runs/flowers")
        >>> classifier.predict(["photo.jpg"])
        array(['roses'], dtype='<U5')
    """

    network: nn.Module
    architecture: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    calibration: Calibration = field(default_factory=Calibration)
    judgement: Judgement | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    pruned: bool = False
    about: Mapping[str, Any] = field(default_factory=dict)

    portion: ClassVar[int] = 64
    """So many pictures a call of `judge` takes best: it computes on all cores, or on a GPU."""
    calls: ClassVar[int] = 1
    """So many calls of `judge` at once are best."""

    @property
    def classes_(self) -> np.ndarray:
        """Class names in the order of the columns of `predict_proba`, as scikit-learn calls them."""
        return np.array(self.classes)

    def predict(self, pictures: Any, *, unknown: bool = False) -> np.ndarray:
        """Name the most probable class of each picture.

        Args:
            pictures: One or many of: path, bytes of a file, PIL picture, array [H, W] or [H, W, C]; or an array
                [N, H, W, C].
            unknown: Say "unknown" of pictures that look like none of the classes.

        Returns:
            Names, [N].

        Raises:
            PictureError: A picture cannot be read; none is ever left out.
        """
        seen = self._look(pictures)
        names = self.classes_[self.calibration.probabilities(seen.logits).argmax(axis=1)]
        if not unknown:
            return names
        if self.judgement is None:
            raise ModelError(
                "the model cannot tell unknown pictures.",
                got="a model with too few validation pictures",
                fix="ask without unknown=True.",
            )
        return np.where(self.judgement.strange(seen.logits, seen.features)[1], UNKNOWN, names)

    def predict_proba(self, pictures: Any) -> np.ndarray:
        """Give the calibrated probability of each class for each picture.

        Args:
            pictures: As for `predict`.

        Returns:
            float64 [N, K]; rows sum to 1.
        """
        return self.calibration.probabilities(self._look(pictures).logits)

    def logits(self, blocks: Iterable[np.ndarray], engine: Engine | None = None) -> np.ndarray:
        """Compute the network's raw answers for pictures that are already at its size.

        Args:
            blocks: Each uint8 [n, size_px, size_px, C].
            engine: Another machine or precision than the default: fp32, so that a model answers alike everywhere.

        Returns:
            float64 [N, K]; `calibration.probabilities` makes calibrated probabilities of them.
        """
        parts = [part.double() for part in infer(self.network, blocks, self.preprocessing, engine or Engine())]
        return torch.cat(parts).numpy() if parts else np.zeros((0, len(self.classes)))

    def embed(self, blocks: Iterable[np.ndarray], engine: Engine | None = None) -> Seen:
        """Compute the raw answers as `logits` does, and the features that the last layer reads, in one pass.

        Returns:
            Logits float64 [N, K]; features float32 [N, D], or None of a network that does not end in a linear layer.
        """
        if not self._has_features():
            return Seen(self.logits(blocks, engine))
        with both(self.network) as network:
            parts = list(infer(network, blocks, self.preprocessing, engine or Engine()))
        K = len(self.classes)
        if not parts:
            return Seen(np.zeros((0, K)), np.zeros((0, linear_head(self.network).in_features), np.float32))
        table = torch.cat(parts)
        # A view of the features would keep the logits in memory once more.
        return Seen(table[:, -K:].double().numpy(), table[:, :-K].numpy().copy())

    def read(self, data: bytes) -> np.ndarray:
        """Bring the bytes of a file to the network's size: uint8 [size_px, size_px, C].

        Raises:
            PictureError: With the reason.
        """
        return middle(prepare(data, "", self.preprocessing), self.preprocessing.size_px)

    def judge(self, pictures: np.ndarray) -> Judged:
        """Answer pictures that `read` gave, uint8 [N, size_px, size_px, C]: all that `predict` needs to know of them."""
        judgement = self.judgement
        seen = self.embed([pictures]) if judgement else Seen(self.logits([pictures]))
        probabilities = self.calibration.probabilities(seen.logits)
        if judgement is None or judgement.detector is None:
            return Judged(probabilities)
        return Judged(probabilities, *judgement.strange(seen.logits, seen.features))

    @property
    def tells_unknown(self) -> bool:
        """Whether `judge` says how strange pictures are."""
        return self.judgement is not None and self.judgement.detector is not None

    def save(self, folder: Path) -> None:
        """Write the model folder: tensors as safetensors, everything else as JSON, in timm's and the hub's schema."""
        folder.mkdir(parents=True, exist_ok=True)
        # A layer may stand in a network under two names, and safetensors wants tensors that share no memory.
        tensors = {
            name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
            for name, value in self.network.state_dict().items()
        }
        with whole(folder / WEIGHTS) as unfinished:
            save_file(tensors, unfinished, {"format": "pt"})
        if self.judgement is not None:
            arrays = {name: np.ascontiguousarray(one) for name, one in self.judgement.arrays().items()}
            with whole(folder / JUDGEMENT) as unfinished:
                save_arrays(arrays, unfinished)
        else:
            # That of a model which was saved here before.
            (folder / JUDGEMENT).unlink(missing_ok=True)
        if own_code.is_own_code(self.architecture):
            # As it was when the network was built: the file may have been edited since.
            written_by = own_code.source_of(self.network)
            write_text(
                folder / CODE, written_by or Path(self.architecture.rpartition(":")[0]).read_text(encoding="utf-8")
            )
            own_code.trust(folder / CODE)
        write_text(folder / CONFIG, json.dumps(self._config(), ensure_ascii=False, indent=1) + "\n")

    @classmethod
    def load(cls, folder: str | Path, *, trust_code: bool = False) -> Classifier:
        """Read a model folder, or the model of a run.

        Args:
            folder: RUN, RUN/model, or any folder that `save` wrote.
            trust_code: Run the network.py of a model folder that was not made on this machine.

        Raises:
            RunError: No model there.
            ModelError: It was written by a newer version, is damaged, or holds code that is not trusted.
        """
        place = find_model(Path(folder))
        config = _read_config(place / CONFIG)
        ours = config["linnaeus"]
        preprocessing = Preprocessing(**{name: _tuples(value) for name, value in ours["preprocessing"].items()})
        architecture = _architecture(config["architecture"], place, trust_code)
        network = zoo.create(
            architecture,
            num_classes=config["num_classes"],
            channels=preprocessing.channels,
            size_px=preprocessing.size_px,
            weights="none",
            options=ours["options"],
        )
        _fill(network, place / WEIGHTS, pruned=ours.get("pruned", False))
        return cls(
            network=network,
            architecture=architecture,
            classes=tuple(config["label_names"]),
            preprocessing=preprocessing,
            calibration=Calibration.of(ours["calibration"]),
            judgement=_read_judgement(place / JUDGEMENT, config["label_names"]),
            options=ours["options"],
            pruned=ours.get("pruned", False),
            about=ours["about"],
        )

    def _look(self, pictures: Any) -> Seen:
        """Bring pictures of any kind to the network, some at a time."""
        size_px = self.preprocessing.size_px

        def stored(numbered: tuple[int, Any]) -> np.ndarray:
            number, one = numbered
            try:
                return middle(picture_to_stored(one, self.preprocessing), size_px)
            except PictureError as error:
                raise error if error.picture else error.of(f"pictures[{number}]") from None

        def blocks() -> Iterator[np.ndarray]:
            with ThreadPoolExecutor() as pool:
                for chunk in _chunks(enumerate(_many(pictures)), 32):
                    yield np.stack(list(pool.map(stored, chunk)))

        return self.embed(blocks())

    def _has_features(self) -> bool:
        """Tell whether the last linear layer's input can be told, by trying it on one picture, once."""
        if self.network not in _WITH_FEATURES:
            _WITH_FEATURES[self.network] = self._try_features()
        return _WITH_FEATURES[self.network]

    def _try_features(self) -> bool:
        size = (1, self.preprocessing.size_px, self.preprocessing.size_px, self.preprocessing.channels)
        engine, about = Engine(), self.preprocessing
        whole = nn.Sequential(FromBytes(about.mean, about.std).to(engine.device))
        try:
            with torch.no_grad(), one_torch_thread():
                features(
                    engine.place(self.network).eval(), whole(torch.zeros(size, dtype=torch.uint8).to(engine.device))
                )
        except ModelError:
            return False
        return True

    def _timm_name(self) -> str:
        """Name the network as timm does; own code by the copy in the model folder."""
        if own_code.is_own_code(self.architecture):
            return f"{CODE}:{self.architecture.rpartition(':')[2]}"
        return getattr(self.network, "pretrained_cfg", {}).get("architecture") or zoo.resolve(self.architecture)

    def _built_for(self) -> dict[str, Any]:
        """Say what the network has to be told of its pictures when it is built."""
        about = self.preprocessing
        grey = {"in_chans": 1} if about.channels == 1 else {}
        fixed = getattr(self.network, "pretrained_cfg", {}).get("fixed_input_size")
        return grey | ({"img_size": about.size_px} if fixed else {})

    def _config(self) -> dict[str, Any]:
        about = self.preprocessing
        head_name = getattr(self.network, "pretrained_cfg", {}).get("classifier")
        first_conv = getattr(self.network, "pretrained_cfg", {}).get("first_conv")
        return {
            "architecture": self._timm_name(),
            "num_classes": len(self.classes),
            "num_features": getattr(self.network, "num_features", None),
            "label_names": list(self.classes),
            "model_args": {**self._built_for(), **self.options},
            "pretrained_cfg": {
                "input_size": [about.channels, about.size_px, about.size_px],
                "fixed_input_size": False,
                "interpolation": about.interpolation,
                "crop_pct": about.size_px / about.resize_px,
                "crop_mode": {"crop": "center", "squash": "squash", "pad": "border"}[about.resize],
                "mean": list(about.mean),
                "std": list(about.std),
                "num_classes": len(self.classes),
                "classifier": head_name,
                "first_conv": first_conv,
            },
            "linnaeus": {
                "format": FORMAT,
                "preprocessing": asdict(about),
                "calibration": self.calibration.document(),
                "options": dict(self.options),
                "pruned": self.pruned,
                "about": dict(self.about),
            },
        }


def _many(pictures: Any) -> Iterator[Any]:
    """Take one picture or many apart into single ones."""
    single = isinstance(pictures, str | bytes | os.PathLike) or not isinstance(pictures, Iterable)
    if single or (isinstance(pictures, np.ndarray) and pictures.ndim < 4):
        return iter([pictures])
    return iter(pictures)


def _chunks(items: Iterator[Any], size: int) -> Iterator[list[Any]]:
    while chunk := list(islice(items, size)):
        yield chunk


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        ours = config.get("linnaeus")
        newer = ours is not None and ours["format"] > FORMAT
        missing = {"preprocessing", "calibration", "options", "about"} - set(ours or {})
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise ModelError(f"{path} should describe a model.", got=f"{type(error).__name__}: {error}") from None
    if ours is None or newer:
        raise ModelError(
            f"{path} should be a model of Linnaeus, format {FORMAT}.",
            got="another program's model" if ours is None else f"format {ours['format']}",
            fix="train here" if ours is None else "install a newer linnaeus.",
        )
    if missing:
        raise ModelError(f"{path} should describe a model.", got=f"nothing about {', '.join(sorted(missing))}")
    return config


def _architecture(name: str, place: Path, trust_code: bool) -> str:
    """Find the network's code: by name, or the network.py beside the model when it is trusted."""
    # What runs code is asked of those who run it: a name that they take otherwise would be run without trust.
    if not own_code.is_own_code(name):
        return name
    file, _, function = name.rpartition(":")
    if file != CODE or not function.isidentifier():
        raise ModelError(
            f"{place / CONFIG} should name the network's own code as {CODE}:FUNCTION.",
            got=name,
            fix="do not use this model folder, unless you know who wrote that name.",
        )
    code = place / CODE
    if not trust_code and not own_code.is_trusted(code):
        raise ModelError(
            f"{code} holds the network's own code, which was not made on this machine.",
            fix="read it; if you trust it, pass --trust-code (trust_code=True in Python).",
        )
    return f"{code}:{function}"


def _fill(network: nn.Module, weights: Path, *, pruned: bool) -> None:
    try:
        tensors = load_file(weights)
        (reshape(network, tensors) if pruned else network).load_state_dict(tensors)
    except Exception as error:
        raise ModelError(f"{weights} should hold the network's tensors.", got=str(error)[:300]) from None


def _read_judgement(path: Path, classes: Sequence[str]) -> Judgement | None:
    if not path.is_file():
        return None
    try:
        arrays = load_arrays(path)
    except Exception as error:
        raise ModelError(f"{path} should hold arrays.", got=str(error)[:300]) from None
    return Judgement.of(arrays, classes)


def _tuples(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
