import pytest

from linnaeus.errors import ModelError
from linnaeus.verbs.models import list_models, show


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("keras-cifar10", 356_810),
        ("keras-basic-64", 1_626_442),
        ("keras-cifar10-dropout", 1_250_858),
        ("torch-simplecnn", 553_514),
    ],
)
def test_the_lessons_are_shown_as_the_lessons_print_them(name, parameters):
    sheet = show(name)
    assert sheet.parameters.total == parameters
    assert sum(row.parameters for row in sheet.layers) == parameters


def test_a_sheet_names_each_layer_with_its_output():
    first = show("keras-cifar10").layers[0]
    assert first.output_shape[-2:] == (30, 30) or first.output_shape[-2:] == (32, 32)
    assert first.parameters == 896


def test_classes_and_size_may_be_chosen():
    sheet = show("keras-cifar10", classes=3, size_px=64)
    assert sheet.input_size == (3, 64, 64)
    assert sheet.layers[-1].output_shape == (3,)


def test_own_code_is_shown(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n\ndef net(num_classes):\n"
        "    return nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, num_classes))\n"
    )
    assert show(f"{tmp_path / 'mine.py'}:net", classes=4, size_px=16).parameters.total == 52


def test_an_unknown_name_is_an_error_with_a_suggestion():
    with pytest.raises(ModelError, match="keras-cifar10"):
        show("keras-cifar1")


def test_the_list_begins_with_ours_and_can_be_narrowed():
    assert list_models()[0] == "keras-basic-64"
    assert "resnet18" in list_models("resnet")
    assert list_models("no-such-network") == []
