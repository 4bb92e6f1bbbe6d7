import py_compile
import sys

import pytest
import timm
import torch
from torch import nn

from linnaeus.errors import ModelError
from linnaeus.nn import zoo

OWN_CODE = """
from torch import nn

def network(num_classes, in_chans=3, width=4):
    body = nn.Conv2d(in_chans, width, 3)
    return nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, num_classes))

def fixed():
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 7))

def nothing(num_classes):
    return "a network"

def broken(num_classes):
    raise RuntimeError("no luck")

not_a_function = 3
"""


@pytest.fixture
def own_file(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(OWN_CODE)
    before = set(sys.modules)
    yield file
    for name in set(sys.modules) - before:
        if name.startswith("linnaeus_own_"):
            del sys.modules[name]


def test_hyphens_and_underscores_name_the_same_network():
    assert zoo.resolve("keras-cifar10") == zoo.resolve("keras_cifar10") == "keras_cifar10"
    assert zoo.exists("tf-efficientnet-lite0")


def test_importing_the_zoo_registers_our_networks_with_timm():
    assert timm.create_model("keras_cifar10", num_classes=3)(torch.zeros(1, 3, 32, 32)).shape == (1, 3)


def test_names_lists_ours_first_with_hyphens():
    names = zoo.names()
    assert names[0] == "keras-basic-64"
    assert names.index("alexnet") < names.index("vgg11")
    assert len(names) == len(set(names))
    assert len(names) > 1_000


def test_names_takes_a_part_of_a_name_or_a_pattern():
    assert zoo.names("simplecnn") == ["torch-simplecnn"]
    assert zoo.names("keras_cifar10*") == ["keras-cifar10", "keras-cifar10-dropout"]
    assert "resnet18.a1_in1k" in zoo.names("resnet18.*")


def test_a_misspelt_network_suggests_the_nearest():
    with pytest.raises(ModelError, match="keras-cifar10 or"):
        zoo.create("keras-cifr10", num_classes=2)


def test_a_wrong_weight_tag_lists_the_right_ones():
    with pytest.raises(ModelError, match=r"resnet18\.a1_in1k"):
        zoo.create("resnet18.a7", num_classes=2)
    assert not zoo.exists("resnet18.a7")
    assert zoo.exists("resnet18.a1_in1k")


def test_a_wrong_option_is_named():
    with pytest.raises(ModelError, match="batch_nrom"):
        zoo.create("torch-simplecnn", num_classes=2, options={"batch_nrom": True})


def test_options_cannot_overrule_the_data():
    with pytest.raises(ModelError, match="num_classes"):
        zoo.create("torch-simplecnn", num_classes=2, options={"num_classes": 3})


def test_a_network_for_one_size_is_built_for_the_size_asked():
    network = zoo.create("test_vit", num_classes=3, size_px=96, weights="none")
    assert network(torch.zeros(1, 3, 96, 96)).shape == (1, 3)


def test_the_published_input_of_each_own_network_is_known():
    assert zoo.published_cfg("keras-folder-150")["input_size"] == (3, 150, 150)
    assert zoo.published_cfg("torch-simplecnn")["mean"] == (0.5, 0.5, 0.5)
    assert zoo.published_cfg("small-64")["input_size"] == (3, 32, 32)


@pytest.mark.parametrize(
    ("name", "size_px", "options"),
    [
        ("alexnet", 64, {}),
        ("vgg11", 32, {"mlp_ratio": 0.05}),
        ("resnet18", 32, {}),
        ("inception_v3", 96, {}),
        ("efficientnet_b0", 32, {}),
        ("vit_tiny_patch16_224", 32, {"depth": 2}),
    ],
)
def test_each_famous_network_learns_in_one_step(name, size_px, options):
    torch.manual_seed(0)
    network = zoo.create(name, num_classes=3, size_px=size_px, weights="none", options=options)
    pictures, labels = torch.randn(3, 3, size_px, size_px), torch.arange(3)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3)
    before = network.get_classifier().weight.detach().clone()
    nn.functional.cross_entropy(network(pictures), labels).backward()
    optimizer.step()
    assert not torch.equal(before, network.get_classifier().weight)
    assert network(pictures).isfinite().all()


def test_own_code_is_given_the_classes_and_channels(own_file):
    name = f"{own_file}:network"
    network = zoo.create(name, num_classes=5, channels=1, size_px=16, options={"width": 6})
    assert network(torch.zeros(2, 1, 16, 16)).shape == (2, 5)
    assert zoo.exists(name)
    assert network.training


def test_annotations_of_own_code_are_what_they_are(tmp_path):
    (tmp_path / "net.py").write_text(
        "from dataclasses import dataclass, fields\nfrom torch import nn\n"
        "@dataclass\nclass Width:\n    value: int = 0\n"
        "def network(num_classes):\n"
        "    width = fields(Width)[0].type('8')\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(768, width), nn.Linear(width, num_classes))\n"
    )
    assert zoo.create(f"{tmp_path}/net.py:network", num_classes=5, size_px=16)[1].out_features == 8


@pytest.mark.parametrize(
    ("function", "told"),
    [
        ("absent", "it holds broken, fixed, network, nothing"),
        ("not_a_function", "is of type int"),
        ("nothing", r"should return a torch.nn.Module"),
        ("broken", "no luck"),
        ("fixed", "7"),
    ],
)
def test_own_code_that_gives_no_network_for_these_classes_is_refused(own_file, function, told):
    with pytest.raises(ModelError, match=told):
        zoo.create(f"{own_file}:{function}", num_classes=5, size_px=16)


def test_own_code_that_cannot_take_the_pictures_is_refused(own_file):
    with pytest.raises(ModelError, match="3 x 20 x 20"):
        zoo.create(f"{own_file}:fixed", num_classes=7, size_px=20)


def test_own_code_without_file_or_function_is_refused(own_file):
    with pytest.raises(ModelError, match="does not exist"):
        zoo.create("nowhere.py:network", num_classes=2)
    with pytest.raises(ModelError, match="should name a function"):
        zoo.create(str(own_file), num_classes=2)
    assert not zoo.exists("nowhere.py:network")


@pytest.mark.parametrize("name", ["x.pyc:y.py", "x.so:y.py", "a:b.py"])
def test_only_python_source_is_own_code(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = name.partition(":")[0]
    (tmp_path / "trap.py").write_text("open('ran', 'w').close()\n")
    py_compile.compile("trap.py", file)
    with pytest.raises(ModelError, match=f"{file} should be Python source"):
        zoo.create(name, num_classes=2)
    assert not (tmp_path / "ran").exists()


def test_own_code_with_a_mistake_tells_the_mistake(tmp_path):
    (tmp_path / "wrong.py").write_text("import a_module_that_is_not_there\n")
    with pytest.raises(ModelError, match="a_module_that_is_not_there"):
        zoo.create(f"{tmp_path / 'wrong.py'}:network", num_classes=2)
