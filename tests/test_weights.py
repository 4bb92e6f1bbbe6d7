import http.server
import os
import pickle
import threading
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from huggingface_hub import constants
from PIL import Image
from safetensors.torch import save, save_file
from timm.models import save_for_hf

from linnaeus.errors import DownloadError, ModelError
from linnaeus.nn import zoo
from linnaeus.nn.weights import read_tensors

DAISIES = Path(__file__).parents[2] / "shared" / "data" / "flowers" / "daisy"
IMAGENET_DAISY = 985
HUB_NAME = "test_resnet.r160_in1k"


def lesson(num_classes=10, channels=3, weights="none"):
    torch.manual_seed(0 if weights == "none" else 1)
    return zoo.create("keras-cifar10", num_classes=num_classes, channels=channels, weights=str(weights))


def same(network, other):
    mine, others = network.state_dict(), other.state_dict()
    return all(torch.equal(value, others[name]) for name, value in mine.items())


@pytest.mark.skipif(not DAISIES.is_dir(), reason="needs the photographs in shared/data")
def test_the_embedded_weights_know_a_daisy_with_timms_preprocessing():
    network = zoo.create("tf_efficientnet_lite0", num_classes=1000).eval()
    cfg = network.pretrained_cfg
    transform = timm.data.create_transform(**timm.data.resolve_data_config(cfg), is_training=False)
    files = sorted(DAISIES.glob("*.jpg"))[::20][:24]
    pictures = torch.stack([transform(Image.open(file).convert("RGB")) for file in files])
    with torch.no_grad():
        right = network(pictures).argmax(1) == IMAGENET_DAISY
    assert len(files) >= 20
    assert right.float().mean() > 0.6
    assert (cfg["interpolation"], cfg["crop_pct"], cfg["input_size"]) == ("bicubic", 0.875, (3, 224, 224))


def test_the_embedded_weights_fill_everything_but_the_head():
    report = zoo.create("tf_efficientnet_lite0", num_classes=5).loaded_weights
    assert len(report.loaded) == 294
    assert report.dropped == report.missing == ("classifier.weight", "classifier.bias")


def test_the_embedded_weights_adapt_to_grey_pictures():
    grey = zoo.create("tf_efficientnet_lite0", num_classes=5, channels=1)
    colour = zoo.create("tf_efficientnet_lite0", num_classes=5)
    torch.testing.assert_close(grey.conv_stem.weight, colour.conv_stem.weight.sum(dim=1, keepdim=True))


def test_a_network_without_published_weights_starts_at_random_and_says_so():
    report = lesson(weights="default").loaded_weights
    assert report.source == "random numbers"
    assert not report.loaded


@pytest.mark.parametrize("ending", ["safetensors", "pth", "pt", "bin"])
def test_weights_come_back_from_each_kind_of_file(tmp_path, ending):
    network, file = lesson(), tmp_path / f"weights.{ending}"
    state = network.state_dict()
    save_file(state, file) if ending == "safetensors" else torch.save(state, file)
    other = lesson(weights=file)
    assert same(network, other)
    assert other.loaded_weights.loaded == tuple(state)


@pytest.mark.parametrize("wrapper", ["state_dict", "model"])
def test_weights_are_found_inside_a_checkpoint_of_a_wrapped_network(tmp_path, wrapper):
    network = lesson()
    state = {f"module.{name}": value for name, value in network.state_dict().items()}
    torch.save({wrapper: state, "epoch": 3}, tmp_path / "checkpoint.pth")
    assert same(network, lesson(weights=tmp_path / "checkpoint.pth"))


def test_a_head_for_other_classes_is_dropped_and_named(tmp_path):
    save_file(lesson(num_classes=7).state_dict(), tmp_path / "seven.safetensors")
    network = lesson(num_classes=2, weights=tmp_path / "seven.safetensors")
    assert network.loaded_weights.dropped == network.loaded_weights.missing == ("head.weight", "head.bias")
    assert torch.equal(network.features[0].conv1.weight, lesson(num_classes=7).features[0].conv1.weight)


def test_a_file_for_colour_serves_grey_pictures(tmp_path):
    save_file(lesson().state_dict(), tmp_path / "colour.safetensors")
    network = lesson(channels=1, weights=tmp_path / "colour.safetensors")
    expected = lesson().features[0].conv1.weight.sum(dim=1, keepdim=True)
    torch.testing.assert_close(network.features[0].conv1.weight, expected)


def test_position_embeddings_are_brought_to_another_size(tmp_path):
    save_file(zoo.create("test_vit", num_classes=3, weights="none").state_dict(), tmp_path / "vit.safetensors")
    network = zoo.create("test_vit", num_classes=3, size_px=96, weights=str(tmp_path / "vit.safetensors"))
    assert network(torch.zeros(1, 3, 96, 96)).shape == (1, 3)


def test_weights_of_another_network_are_refused_by_name(tmp_path):
    save_file(zoo.create("test_resnet", num_classes=3, weights="none").state_dict(), tmp_path / "resnet.safetensors")
    with pytest.raises(ModelError, match=r"features\.0\.conv1\.weight is missing"):
        lesson(weights=tmp_path / "resnet.safetensors")


def test_a_tensor_of_other_shape_is_refused_by_name(tmp_path):
    state = lesson().state_dict()
    state["pre_logits.dense.weight"] = torch.zeros(64, 2048)
    save_file(state, tmp_path / "odd.safetensors")
    with pytest.raises(ModelError, match="64x2048 instead of 128x2048"):
        lesson(weights=tmp_path / "odd.safetensors")


class Malicious:
    def __init__(self, victim):
        self.victim = victim

    def __reduce__(self):
        return os.mkdir, (str(self.victim),)


@pytest.mark.parametrize("write", [torch.save, lambda what, file: file.write_bytes(pickle.dumps(what, protocol=2))])
def test_code_in_a_pickle_is_refused_and_never_run(tmp_path, write):
    file = tmp_path / "trap.pth"
    write({"state_dict": {"weight": Malicious(tmp_path / "victim")}}, file)
    with pytest.raises(ModelError, match="it was not run"):
        lesson(weights=file)
    assert not (tmp_path / "victim").exists()


@pytest.mark.parametrize("ending", ["safetensors", "pth"])
@pytest.mark.parametrize("content", [b"", b"not weights at all", bytes(range(256)) * 8])
def test_a_damaged_file_is_refused(tmp_path, ending, content):
    (tmp_path / f"damaged.{ending}").write_bytes(content)
    with pytest.raises(ModelError, match="damaged"):
        read_tensors(tmp_path / f"damaged.{ending}")


@pytest.mark.parametrize("ending", ["safetensors", "pth"])
def test_a_truncated_file_is_refused(tmp_path, ending):
    file = tmp_path / f"cut.{ending}"
    save_file(lesson().state_dict(), file) if ending == "safetensors" else torch.save(lesson().state_dict(), file)
    file.write_bytes(file.read_bytes()[:-5000])
    with pytest.raises(ModelError, match="cut"):
        read_tensors(file)


def test_a_missing_file_and_another_kind_of_file_are_refused(tmp_path):
    with pytest.raises(ModelError, match="does not exist"):
        lesson(weights=tmp_path / "nowhere.pth")
    (tmp_path / "weights.h5").write_bytes(b"x")
    with pytest.raises(ModelError, match=r"should end in \.safetensors"):
        lesson(weights=tmp_path / "weights.h5")


def test_a_file_without_tensors_is_refused(tmp_path):
    torch.save({"epoch": 3, "losses": [1.0, 2.0]}, tmp_path / "log.pth")
    with pytest.raises(ModelError, match="epoch, losses"):
        lesson(weights=tmp_path / "log.pth")


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """Serve the files of a dictionary as the hub does, on this machine."""
    files: dict[str, bytes] = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            content = files.get(self.path)
            self.send_response(200 if content is not None else 404)
            if content is None:
                self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("X-Repo-Commit", "0" * 40)
            self.send_header("ETag", '"1"')
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content or b"")

        def do_HEAD(self):
            self.do_GET()

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    yield files
    server.shutdown()
    server.server_close()


def published_state():
    torch.manual_seed(5)
    return timm.create_model("test_resnet", num_classes=1000).state_dict()


def test_published_weights_are_fetched_from_the_hub_once(hub):
    state = published_state()
    hub[f"/timm/{HUB_NAME}/resolve/main/model.safetensors"] = save(state)
    network = zoo.create(HUB_NAME, num_classes=4)
    hub.clear()
    again = zoo.create(HUB_NAME, num_classes=4)
    for found in (network, again):
        assert torch.equal(found.conv1[0].weight, state["conv1.0.weight"])
        assert found.loaded_weights.missing == ("fc.weight", "fc.bias")


def test_a_hub_without_the_file_says_where_to_fetch_it(hub):
    with pytest.raises(DownloadError, match=r"model\.weights=FILE"):
        zoo.create(HUB_NAME, num_classes=4)


def test_a_hub_that_does_not_answer_says_so(hub, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(DownloadError, match="no answer"):
        zoo.create(HUB_NAME, num_classes=4)


def test_hub_weights_that_are_damaged_are_refused(hub):
    hub[f"/timm/{HUB_NAME}/resolve/main/model.safetensors"] = np.arange(999, dtype=np.uint8).tobytes()
    with pytest.raises(DownloadError, match=r"delete .*model\.safetensors and try again"):
        zoo.create(HUB_NAME, num_classes=4)


def test_a_model_folder_serves_as_a_start_for_other_classes(tmp_path):
    network = lesson()
    save_for_hf(network, tmp_path)
    other = zoo.create(f"local-dir:{tmp_path}", num_classes=4)
    assert torch.equal(other.pre_logits.dense.weight, network.pre_logits.dense.weight)
    assert other.loaded_weights.missing == ("head.weight", "head.bias")
    fresh = zoo.create(f"local-dir:{tmp_path}", num_classes=4, weights="none")
    assert not torch.equal(fresh.pre_logits.dense.weight, network.pre_logits.dense.weight)


def test_a_model_folder_that_is_not_there_is_refused():
    with pytest.raises(ModelError, match="local-dir:nowhere"):
        zoo.create("local-dir:nowhere", num_classes=4)
