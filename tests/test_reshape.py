import pytest
import torch
from torch import nn

from linnaeus.classifier import Classifier
from linnaeus.errors import ModelError
from linnaeus.nn import zoo
from linnaeus.nn.head import linear_head
from linnaeus.nn.prune import prune
from linnaeus.nn.reshape import remove_block, reshape
from linnaeus.records import Preprocessing

NETWORKS = {
    "tf_efficientnet_lite0": 64,  # depthwise
    "mobilenetv3_small_100": 64,  # gates
    "resnet18": 64,
    "small-32": 32,
    "keras-cifar10": 32,  # flattened before the head
    "vit_tiny_patch16_224": 224,  # layer norms, attention
    "convnext_atto": 64,  # parameters that stand alone
    "densenet121": 64,  # concatenation
}


def made(name, px):
    torch.manual_seed(0)
    options = {"zero_init_last": False} if name == "resnet18" else {}
    return zoo.create(name, num_classes=3, size_px=px, weights="none", options=options).eval()


@pytest.fixture(scope="module", params=NETWORKS)
def pruned(request):
    """A network's name, its size, and the pruned network."""
    px = NETWORKS[request.param]
    network, example = made(request.param, px), torch.rand(1, 3, px, px)
    return request.param, px, prune(network, example, keep=0.7, importance="magnitude", scope="layer").network


def test_a_pruned_network_is_built_again_from_its_name_and_tensors(pruned):
    name, px, network = pruned
    again, x = made(name, px), torch.rand(2, 3, px, px)
    reshape(again, network.state_dict()).load_state_dict(network.state_dict())
    assert torch.equal(again(x), network(x))
    assert linear_head(again).in_features == linear_head(network).in_features


def test_every_layer_of_a_rebuilt_network_knows_its_size(pruned):
    name, px, network = pruned
    again = reshape(made(name, px), network.state_dict())
    # What a layer says of itself is what makers of exports read.
    assert [str(layer) for layer in again.modules()] == [str(layer) for layer in network.modules()]


def test_the_network_says_how_many_features_it_has_after_pruning():
    network = prune(
        made("resnet18", 64), torch.rand(1, 3, 64, 64), keep=0.5, importance="magnitude", scope="layer"
    ).network
    assert network.num_features == linear_head(network).in_features < 512


def test_a_removed_block_is_absent_after_rebuilding():
    network, x = made("tf_efficientnet_lite0", 64), torch.rand(2, 3, 64, 64)
    remove_block(network, "blocks.5.1")
    again = reshape(made("tf_efficientnet_lite0", 64), network.state_dict())
    again.load_state_dict(network.state_dict())
    assert isinstance(again.blocks[5][1], nn.Identity)
    assert torch.equal(again(x), network(x))


def test_tensors_of_another_network_are_refused():
    with pytest.raises(ModelError, match="pruned"):
        reshape(made("resnet18", 64), made("small-32", 32).state_dict())


def test_a_tensor_too_many_is_refused():
    tensors = made("small-32", 32).state_dict()
    with pytest.raises(ModelError, match="extra"):
        reshape(made("small-32", 32), tensors | {"extra": torch.zeros(1)})


HOW = Preprocessing(64, "squash", 64, "bilinear", (0, 0, 0), 3, (0.5,) * 3, (0.5,) * 3, 10**6)


def classifier(network, **more):
    return Classifier(network, "tf_efficientnet_lite0", ("a", "b", "c"), HOW, **more)


def test_a_pruned_classifier_answers_alike_after_saving_and_loading(tmp_path):
    network = prune(made("tf_efficientnet_lite0", 64), torch.rand(1, 3, 64, 64), keep=0.5, importance="scale").network
    before, pictures = classifier(network, pruned=True), torch.randint(256, (3, 64, 64, 3), dtype=torch.uint8).numpy()
    before.save(tmp_path)
    after = Classifier.load(tmp_path)
    assert after.pruned
    assert (after.predict_proba(pictures) == before.predict_proba(pictures)).all()


def test_sizes_are_taken_from_the_tensors_only_where_the_model_says_that_it_is_pruned(tmp_path):
    network = prune(made("tf_efficientnet_lite0", 64), torch.rand(1, 3, 64, 64), keep=0.5, importance="scale").network
    classifier(network, pruned=False).save(tmp_path)
    with pytest.raises(ModelError, match="tensors"):
        Classifier.load(tmp_path)
