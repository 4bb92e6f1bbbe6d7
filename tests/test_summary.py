import pytest
import torch
from torch import nn

from linnaeus.nn import zoo
from linnaeus.nn.stages import freeze
from linnaeus.nn.summary import LayerRow, count_parameters, layer_table


def test_the_table_of_a_lesson_is_the_one_that_keras_prints():
    rows = layer_table(zoo.create("keras-cifar10", num_classes=10), (3, 32, 32))
    shown = [
        (row.type, row.output_shape, row.parameters) for row in rows if row.type != "ReLU" and row.type != "Dropout"
    ]
    assert shown == [
        ("Conv2d", (32, 32, 32), 896),
        ("MaxPool2d", (32, 16, 16), 0),
        ("Conv2d", (64, 16, 16), 18_496),
        ("MaxPool2d", (64, 8, 8), 0),
        ("Conv2d", (128, 8, 8), 73_856),
        ("MaxPool2d", (128, 4, 4), 0),
        ("Flatten", (2048,), 0),
        ("Linear", (128,), 262_272),
        ("Linear", (10,), 1_290),
    ]


@pytest.mark.parametrize("name", ["small-32", "test_resnet", "test_vit", "test_efficientnet", "test_convnext"])
def test_the_rows_add_up_to_the_network(name):
    network = zoo.create(name, num_classes=3, weights="none")
    rows = layer_table(network, tuple(zoo.published_cfg(name)["input_size"]))
    assert sum(row.parameters for row in rows) == count_parameters(network).total


def test_a_shared_layer_counts_once():
    shared = nn.Linear(4, 4)
    rows = layer_table(nn.Sequential(nn.Flatten(), shared, shared), (1, 2, 2))
    assert rows == [LayerRow("0", "Flatten", (4,), 0), LayerRow("1", "Linear", (4,), 20)]


def test_a_layer_that_is_never_called_is_still_listed():
    network = nn.Sequential(nn.Flatten())
    network.forward = lambda x: x.flatten(1)
    network.add_module("unused", nn.Linear(2, 3))
    assert layer_table(network, (1, 2, 2)) == [LayerRow("unused", "Linear", (), 9)]


def test_frozen_parameters_are_counted_apart():
    network = zoo.create("keras-cifar10", num_classes=10)
    freeze(network, "backbone")
    count = count_parameters(network)
    assert (count.total, count.trainable, count.frozen) == (356_810, 1_290, 355_520)


def test_the_table_leaves_the_network_as_it_was():
    network = zoo.create("test_resnet", num_classes=3, weights="none")
    network.train()
    network.layer1.eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    layer_table(network, (3, 64, 64))
    assert network.training
    assert not network.layer1.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(layer._forward_hooks for layer in network.modules())
