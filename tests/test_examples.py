"""Examples of use: what lies beside an export runs as it is, and says what PyTorch says."""

import ast
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from linnaeus.data.decode import middle, picture_to_stored
from linnaeus.errors import ModelError
from linnaeus.records import Preprocessing
from linnaeus.targets import TARGETS, Blueprint, Card, named, require
from linnaeus.targets.environment import node_environment
from linnaeus.targets.examples import examples, write_examples
from linnaeus.targets.graph import Graph

pytestmark = pytest.mark.runtimes

LANGUAGES = {
    "onnx": {"classify.py", "classify.cpp"},
    "openvino": {"classify.py", "classify.cpp"},
    "savedmodel": {"classify.py"},
    "litert": {"classify.py", "Classify.kt", "Classify.swift"},
    "tfjs": {"classify.mjs", "classify.html"},
    "web": {"classify.html"},
    "torch": {"classify.py"},
    "aotinductor": {"classify.py", "classify.cpp"},
    "executorch": {"classify.py", "Classify.kt", "Classify.swift"},
    "coreml": {"classify.py", "Classify.swift"},
    "tensorrt": {"classify.py", "classify.cpp"},
    "state-dict": {"classify.py"},
}
QUICK = ("onnx", "openvino")
RUN_HERE = [name for name, files in LANGUAGES.items() if "classify.py" in files and name not in ("coreml", "tensorrt")]
CARD = Card(("cat", "dog"), Preprocessing(32, resize_px=36, interpolation="bicubic"), about={})
WAYS = [
    Preprocessing(32, resize_px=36),
    Preprocessing(32, resize="squash", interpolation="nearest"),
    Preprocessing(32, resize="pad", background=(1, 2, 3)),
    Preprocessing(32, channels=1, mean=(0.5,), std=(0.5,)),
]


def target_of(name):
    if name not in TARGETS:
        pytest.skip(f"{name} is no target")
    return TARGETS[name]


@pytest.fixture(scope="module")
def exported(classifier, tmp_path_factory):
    """Export to a target once, with its examples; exported("onnx") gives the folder."""
    made = {}

    def export(name):
        target = target_of(name)
        try:
            require(target, writing=True)
        except Exception as error:
            pytest.skip(str(error).splitlines()[0])
        if name not in made:
            folder, scratch = tmp_path_factory.mktemp(name), tmp_path_factory.mktemp("scratch")
            graph = Graph(classifier)
            try:
                target.write(Blueprint(graph, scratch), folder)
            except ModelError as error:
                pytest.skip(f"{error.rule} {error.got}"[:200])
            write_examples(name, folder, graph.card)
            made[name] = folder
        return made[name]

    return export


@pytest.fixture(scope="module")
def picture(photos):
    return sorted(photos.rglob("*.png"))[0]


@pytest.fixture(scope="module")
def wanted(classifier, picture):
    """Class and probability that PyTorch gives."""
    p = classifier.predict_proba([picture])[0]
    return classifier.classes[p.argmax()], p.max()


def said(command, folder):
    """Run an example; return the class and the probability that it prints."""
    done = subprocess.run(list(map(str, command)), cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    name, _, probability = done.stdout.strip().splitlines()[-1].rpartition(" ")
    return name, float(probability)


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in RUN_HERE]
)
def test_the_python_example_prints_what_pytorch_says(name, exported, picture, wanted, tmp_path):
    folder = exported(name)
    found = said([sys.executable, folder / "classify.py", picture], tmp_path)
    assert found == (wanted[0], pytest.approx(wanted[1], abs=1e-2))


@pytest.mark.parametrize("way", WAYS, ids=lambda way: f"{way.resize} {way.interpolation} {way.channels}")
@pytest.mark.parametrize("size", [(70, 50), (41, 80), (32, 32), (300, 200)], ids=str)
def test_pictures_are_read_as_the_classifier_reads_them(way, size, tmp_path):
    from PIL import Image

    from linnaeus.data.decode import middle, prepare

    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    write_examples("onnx", tmp_path, replace(CARD, preprocessing=way))
    source = (tmp_path / "classify.py").read_text()
    function = re.search(r"^def read.*?(?=^\S|\Z)", source, re.MULTILINE | re.DOTALL)[0]
    names = {}
    exec("import numpy as np\nfrom PIL import Image, ImageOps\n" + function, names)
    colour = replace(way, channels=3, mean=(0.5,) * 3, std=(0.5,) * 3)
    expected = middle(prepare((tmp_path / "x.png").read_bytes(), "", colour), 32)
    gap = np.abs(names["read"](tmp_path / "x.png")[0].astype(int) - expected)
    assert gap.max() <= 1


def write_ppm(path, pixels):
    path.write_bytes(b"P6\n%d %d\n255\n" % (pixels.shape[1], pixels.shape[0]) + pixels.tobytes())


def compiled(folder, options):
    if shutil.which("g++") is None:
        pytest.skip("no g++ on this machine")
    command = ["g++", "classify.cpp", "-o", "classify", *map(str, options)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder / "classify"


def right_in_cpp(program, folder, classifier, picture):
    """Check that a program says of a picture what PyTorch says of the same pixels."""
    pixels = classifier.read(picture.read_bytes())
    write_ppm(folder / "x.ppm", pixels)
    p = classifier.judge(pixels[None]).probabilities[0]
    assert said([program, "x.ppm"], folder) == (classifier.classes[p.argmax()], pytest.approx(p.max(), abs=1e-4))


@pytest.mark.slow
def test_the_openvino_example_in_cpp_compiles_and_says_what_pytorch_says(exported, classifier, picture):
    folder = exported("openvino")
    place = Path(importlib.util.find_spec("openvino").origin).parent
    libraries = sorted((place / "libs").glob("libopenvino.so*"))
    if not (place / "include").is_dir() or not libraries:
        pytest.skip("this openvino brings no headers")
    linking = [f"-L{place}/libs", f"-l:{libraries[-1].name}", f"-Wl,-rpath,{place}/libs"]
    program = compiled(folder, ["-std=c++17", f"-I{place}/include", *linking])
    right_in_cpp(program, folder, classifier, picture)


@pytest.mark.slow
def test_the_aotinductor_example_in_cpp_compiles_and_says_what_pytorch_says(exported, classifier, picture):
    import torch

    folder, place = exported("aotinductor"), Path(torch.__file__).parent
    flags = ["-std=c++20", f"-I{place}/include", f"-I{place}/include/torch/csrc/api/include", f"-L{place}/lib"]
    linking = ["-Wl,--no-as-needed", "-ltorch", "-ltorch_cpu", "-lc10", f"-Wl,-rpath,{place}/lib"]
    program = compiled(folder, [*flags, *linking])
    right_in_cpp(program, folder, classifier, picture)


def test_the_onnx_example_in_cpp_compiles_and_says_what_pytorch_says(exported, classifier, picture):
    headers = [
        place for place in ("/usr/include/onnxruntime", "/usr/local/include/onnxruntime") if Path(place).is_dir()
    ]
    if not headers:
        pytest.skip("the headers of ONNX Runtime are not on this machine: its Python package brings none")
    program = compiled(exported("onnx"), ["-std=c++17", f"-I{headers[0]}", "-lonnxruntime"])
    right_in_cpp(program, program.parent, classifier, picture)


NODE = {"@tensorflow/tfjs": "4.22.0", "sharp": "0.34.4"}


@pytest.mark.slow
@pytest.mark.usefixtures("kept_environments")
def test_the_node_example_prints_what_pytorch_says(exported, picture, wanted):
    folder = exported("tfjs")
    (folder / "node_modules").symlink_to(node_environment("tfjs_example", NODE) / "node_modules")
    assert said(["node", "classify.mjs", picture], folder) == (wanted[0], pytest.approx(wanted[1], abs=2e-2))


def test_the_node_example_is_javascript(tmp_path):
    if shutil.which("node") is None:
        pytest.skip("no node on this machine")
    for k, way in enumerate(WAYS):
        (tmp_path / str(k)).mkdir()
        write_examples("tfjs", tmp_path / str(k), replace(CARD, preprocessing=way))
        done = subprocess.run(
            ["node", "--check", "classify.mjs"], cwd=tmp_path / str(k), capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr


def test_every_target_has_its_examples():
    assert {name: set(examples(name)) for name in LANGUAGES} == LANGUAGES
    assert [target.name for target in named("all") if not examples(target.name)] == []


def test_an_unknown_target_has_none(tmp_path):
    assert examples("abacus") == {}
    assert write_examples("abacus", tmp_path, CARD) == []
    assert list(tmp_path.iterdir()) == []


def with_config(folder, architecture="resnet18"):
    """Lay down what the example of state-dict is written from."""
    (folder / "state_dict").mkdir()
    (folder / "state_dict" / "config.json").write_text(json.dumps({"architecture": architecture}))
    return folder


@pytest.mark.parametrize("way", WAYS, ids=lambda way: f"{way.resize} {way.interpolation} {way.channels}")
@pytest.mark.parametrize("name", LANGUAGES)
def test_everything_is_filled_in(name, way, tmp_path):
    for path in write_examples(name, with_config(tmp_path), replace(CARD, preprocessing=way)):
        text = path.read_text()
        assert not re.search(r"\{\{\w+\}\}", text)
        assert max(map(len, text.splitlines())) < 180
        if path.suffix == ".py":
            ast.parse(text)


def test_sizes_are_those_of_the_card(tmp_path):
    write_examples("onnx", tmp_path, CARD)
    assert "scale = 36 / min(picture.size)" in (tmp_path / "classify.py").read_text()
    assert "shape{1, 32, 32, 3}" in (tmp_path / "classify.cpp").read_text()


def test_classes_stand_in_a_table_one_on_each_line(tmp_path):
    write_examples("onnx", tmp_path, replace(CARD, classes=("größe, x", "two\nlines", "last")))
    assert (tmp_path / "labels.txt").read_text(encoding="utf-8") == "größe, x\ntwo lines\nlast\n"


def test_of_an_unusual_form_only_python_examples_are_written(tmp_path):
    for k, card in enumerate((replace(CARD, layout="nchw"), replace(CARD, any_size=True))):
        folder = tmp_path / str(k)
        assert {path.name for path in write_examples("onnx", folder, card)} == {"classify.py", "labels.txt"}
    assert "transpose(0, 3, 1, 2)" in (tmp_path / "0" / "classify.py").read_text()
    assert "resize" not in (tmp_path / "1" / "classify.py").read_text()


def test_a_network_that_timm_does_not_know_is_made_by_linnaeus(tmp_path):
    write_examples("state-dict", with_config(tmp_path, "small"), CARD)
    assert "from linnaeus.nn import zoo" in (tmp_path / "classify.py").read_text()


@pytest.mark.parametrize(("layout", "any_size"), [("nchw", False), ("nhwc", True)])
def test_the_python_example_suits_an_unusual_form(layout, any_size, classifier, picture, wanted, tmp_path):
    for module in ("onnxscript", "onnxruntime"):
        pytest.importorskip(module, reason=f"{module} is not installed")
    graph = Graph(classifier, layout=layout, any_size=any_size)
    (tmp_path / "scratch").mkdir()
    TARGETS["onnx"].write(Blueprint(graph, tmp_path / "scratch"), tmp_path)
    write_examples("onnx", tmp_path, graph.card)
    found = said([sys.executable, tmp_path / "classify.py", picture], tmp_path)
    assert found == (wanted[0], pytest.approx(wanted[1], abs=1e-2))


@pytest.mark.parametrize("kind", ["sixteen", "clear", "palette"])
def test_the_python_examples_read_16_bits_and_transparency_as_the_classifier_does(kind, tmp_path):
    grey = (np.arange(40 * 40, dtype=np.uint16) * 40).reshape(40, 40)
    clear = np.random.default_rng(0).integers(0, 256, (40, 40, 4), dtype=np.uint8)
    made = {
        "sixteen": lambda: Image.fromarray(grey),
        "clear": lambda: Image.fromarray(clear),
        "palette": lambda: Image.fromarray(clear[..., :3]).quantize(20),
    }[kind]()
    made.save(tmp_path / "picture.png", **({"transparency": 3} if kind == "palette" else {}))
    card = replace(CARD, preprocessing=replace(CARD.preprocessing, background=(9, 200, 90)))
    (text,) = (path.read_text() for path in write_examples("onnx", tmp_path, card) if path.name == "classify.py")
    known = {"np": np, "Image": Image, "ImageOps": ImageOps}
    (read,) = (node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef) and node.name == "read")
    exec(compile(ast.Module([read], []), "classify.py", "exec"), known)
    right = middle(picture_to_stored(tmp_path / "picture.png", card.preprocessing), 32)
    assert np.abs(known["read"](tmp_path / "picture.png")[0].astype(int) - right).max() <= 3


@pytest.mark.parametrize("more", [{"architecture": "network.py:build"}, {"linnaeus": {"pruned": True}}], ids=str)
def test_a_network_that_its_folder_alone_knows_is_made_by_the_folder(more, tmp_path):
    config = with_config(tmp_path) / "state_dict" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | more))
    write_examples("state-dict", tmp_path, CARD)
    assert 'Classifier.load(HERE / "state_dict").network' in (tmp_path / "classify.py").read_text()
