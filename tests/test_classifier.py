import io
import json
import py_compile
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from conftest import CLASSES, HUES, write_picture
from linnaeus.classifier import CONFIG, WEIGHTS, Classifier
from linnaeus.errors import ModelError, PictureError, RunError
from linnaeus.metrics.calibration import Calibration
from linnaeus.nn import zoo
from linnaeus.nn.head import linear_head
from linnaeus.nn.input import FromBytes
from linnaeus.records import Preprocessing

OWN = """
from torch import nn

def network(num_classes, in_chans=3, width=4):
    return nn.Sequential(nn.Conv2d(in_chans, width, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, num_classes))
"""

TWO_NAMES = """
from torch import nn

class Network(nn.Module):
    def __init__(self, num_classes, in_chans=3):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(in_chans, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.norm = self.body[1]
        self.head = nn.Linear(4, num_classes)

    def forward(self, x):
        return self.head(self.body(x))
"""


def make(name, size_px=32, classes=("a", "b", "c"), channels=3, **options):
    torch.manual_seed(0)
    network = zoo.create(
        name, num_classes=len(classes), channels=channels, size_px=size_px, weights="none", options=options
    )
    how = Preprocessing(size_px, "squash", channels=channels, mean=(0.4,) * channels, std=(0.3,) * channels)
    calibration = Calibration("temperature", 1.7)
    return Classifier(network, name, classes, how, calibration, options=options, about={"seed": 3})


def some(n=5, size=32):
    return np.random.default_rng(0).integers(0, 256, (n, size, size, 3), dtype=np.uint8)


@pytest.fixture
def photo(tmp_path):
    return write_picture(tmp_path / "photo.png", HUES["red"], 5)


@pytest.fixture
def own(tmp_path):
    (tmp_path / "mine.py").write_text(OWN)
    made = make(f"{tmp_path / 'mine.py'}:network", width=6)
    made.save(tmp_path / "model")
    return made


@pytest.mark.parametrize("name", ["keras-cifar10", "small-32", "tf_efficientnet_lite0", "resnet18"])
def test_a_model_answers_the_same_after_saving_and_loading(tmp_path, name):
    made = make(name)
    made.save(tmp_path)
    loaded = Classifier.load(tmp_path)
    assert np.array_equal(made.predict_proba(some()), loaded.predict_proba(some()))
    assert (loaded.classes, loaded.preprocessing) == (made.classes, made.preprocessing)
    assert loaded.calibration == made.calibration
    assert loaded.about == {"seed": 3}


def test_a_layer_under_two_names_is_saved_and_comes_back_as_one(tmp_path):
    (tmp_path / "mine.py").write_text(TWO_NAMES)
    made = make(f"{tmp_path / 'mine.py'}:Network")
    made.save(tmp_path / "model")
    loaded = Classifier.load(tmp_path / "model")
    assert loaded.network.norm is loaded.network.body[1]
    assert np.array_equal(loaded.logits([some()]), made.logits([some()]))


def test_options_of_the_network_come_back(tmp_path):
    made = make("torch-simplecnn", batch_norm=True)
    made.save(tmp_path)
    assert np.array_equal(Classifier.load(tmp_path).predict_proba(some()), made.predict_proba(some()))


def test_one_channel_models_come_back(tmp_path):
    made = make("small-32", channels=1)
    made.save(tmp_path)
    assert np.array_equal(Classifier.load(tmp_path).predict_proba(some()), made.predict_proba(some()))


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "keras-cifar10", "small-32", "vit_tiny_patch16_224"])
def test_timm_loads_the_model_folder_as_it_is(tmp_path, name):
    made = make(name)
    made.save(tmp_path)
    theirs = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    pictures = FromBytes(made.preprocessing.mean, made.preprocessing.std)(torch.from_numpy(some()))
    with torch.no_grad():
        assert torch.equal(theirs(pictures), made.network.eval()(pictures))


def test_timm_reads_the_size_and_normalisation_from_the_model_folder(trained, classifier):
    theirs = timm.create_model(f"local-dir:{trained.model_dir}", pretrained=True)
    data = timm.data.resolve_model_data_config(theirs)
    assert tuple(data["input_size"]) == (3, 16, 16)
    assert tuple(data["mean"]) == classifier.preprocessing.mean
    assert data["crop_mode"] == "squash"


def test_a_run_and_its_model_folder_load_alike(trained):
    one, other = Classifier.load(trained.folder), Classifier.load(str(trained.model_dir))
    assert np.array_equal(one.predict_proba(some(2, 16)), other.predict_proba(some(2, 16)))


def test_the_model_folder_is_two_files_without_code(trained):
    assert sorted(path.name for path in trained.model_dir.iterdir()) == [CONFIG, WEIGHTS]


def test_class_names_survive_commas_and_umlauts(classifier):
    assert classifier.classes == CLASSES
    assert list(classifier.classes_) == list(CLASSES)


def test_every_way_to_give_a_picture_gives_the_same_answer(classifier, photo):
    picture = Image.open(photo)
    array = np.asarray(picture)
    expected = classifier.predict_proba(photo)
    ways = [
        str(photo),
        photo.read_bytes(),
        picture,
        array,
        [photo],
        [array, array][:1],
        array[None],
        (p for p in [photo]),
    ]
    for way in ways:
        assert np.array_equal(classifier.predict_proba(way), expected)


def test_a_single_picture_gives_one_row(classifier, photo):
    assert classifier.predict_proba(photo).shape == (1, 3)
    assert classifier.predict(photo).tolist() == ["red"]


def test_a_grey_array_is_a_picture(classifier):
    assert classifier.predict_proba(np.full((20, 20), 90, np.uint8)).shape == (1, 3)


def test_pictures_of_mixed_kinds_and_sizes_keep_their_order(classifier, photo):
    mixed = [photo, np.zeros((40, 30, 3), np.uint8), Image.new("L", (9, 9)), photo.read_bytes()]
    together = classifier.predict_proba(mixed)
    apart = np.concatenate([classifier.predict_proba(one) for one in mixed])
    assert np.allclose(together, apart, atol=1e-6)


def test_many_pictures_keep_their_order(classifier):
    pictures = some(75, 16)
    apart = np.concatenate([classifier.predict_proba(one) for one in pictures])
    assert np.allclose(classifier.predict_proba(pictures), apart, atol=1e-6)


def test_rows_are_probabilities(classifier):
    rows = classifier.predict_proba(some(7))
    assert rows.dtype == np.float64
    assert np.allclose(rows.sum(axis=1), 1)


def test_no_pictures_give_no_rows(classifier):
    assert classifier.predict_proba([]).shape == (0, 3)
    assert classifier.predict([]).tolist() == []


def test_the_temperature_calms_the_probabilities_and_keeps_the_answer(classifier):
    calm = replace(classifier, calibration=Calibration("temperature", 10 * classifier.calibration.temperature))
    assert calm.predict_proba(some()).max() < classifier.predict_proba(some()).max()
    assert calm.predict(some()).tolist() == classifier.predict(some()).tolist()


@pytest.mark.parametrize("broken", [b"not a picture", b"", b"\xff\xd8\xff\xe0 half"])
def test_a_picture_that_cannot_be_read_raises(classifier, photo, broken):
    with pytest.raises(PictureError):
        classifier.predict([photo, broken])


def test_a_missing_file_raises(classifier, tmp_path):
    with pytest.raises(PictureError, match=r"nowhere\.jpg: missing"):
        classifier.predict(tmp_path / "nowhere.jpg")


def test_the_one_bad_picture_of_many_is_named(classifier, photo, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"not a picture")
    with pytest.raises(PictureError, match=r"bad\.png: not a picture") as caught:
        classifier.predict([photo] * 40 + [str(tmp_path / "bad.png")])
    assert caught.value.reason == "not a picture"
    with pytest.raises(PictureError, match=r"pictures\[40\]: empty"):
        classifier.predict_proba(iter([photo] * 40 + [b""]))


def test_a_folder_without_a_model_is_an_error_in_words(tmp_path):
    with pytest.raises(RunError, match="should be a run or a model folder"):
        Classifier.load(tmp_path)
    with pytest.raises(RunError, match="no such folder"):
        Classifier.load(tmp_path / "nowhere")


@pytest.fixture
def damaged(trained, tmp_path):
    """A copy of the model whose config can be changed: damaged(lambda config: ...) gives its folder."""
    shutil.copytree(trained.model_dir, tmp_path / "copy")

    def change(edit):
        path = tmp_path / "copy" / CONFIG
        config = json.loads(path.read_text(encoding="utf-8"))
        edit(config)
        path.write_text(json.dumps(config), encoding="utf-8")
        return tmp_path / "copy"

    return change


def test_a_model_of_a_newer_version_says_so(damaged):
    with pytest.raises(ModelError, match="newer linnaeus"):
        Classifier.load(damaged(lambda config: config["linnaeus"].update(format=99)))


def test_a_model_of_another_program_says_so(damaged):
    with pytest.raises(ModelError, match="another program"):
        Classifier.load(damaged(lambda config: config.pop("linnaeus")))


@pytest.mark.parametrize("key", ["format", "preprocessing", "calibration"])
def test_a_config_with_something_missing_is_a_model_error(damaged, key):
    with pytest.raises(ModelError):
        Classifier.load(damaged(lambda config: config["linnaeus"].pop(key)))


def test_a_config_that_is_no_json_is_a_model_error(damaged):
    folder = damaged(lambda config: None)
    (folder / CONFIG).write_text("{half")
    with pytest.raises(ModelError, match=r"config\.json"):
        Classifier.load(folder)


def test_tensors_cut_short_are_a_model_error(damaged):
    folder = damaged(lambda config: None)
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[: len(data) // 2])
    with pytest.raises(ModelError, match="should hold the network's tensors"):
        Classifier.load(folder)


def test_tensors_of_another_network_are_a_model_error(damaged):
    folder = damaged(lambda config: config.update(architecture="keras_cifar10"))
    with pytest.raises(ModelError, match="should hold the network's tensors"):
        Classifier.load(folder)


def test_own_code_is_trusted_on_the_machine_that_made_it(own, tmp_path):
    (tmp_path / "mine.py").unlink()
    loaded = Classifier.load(tmp_path / "model")
    assert np.array_equal(loaded.predict_proba(some()), own.predict_proba(some()))


def test_own_code_from_elsewhere_is_refused_until_it_is_trusted(own, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "elsewhere"))
    with pytest.raises(ModelError, match="not made on this machine"):
        Classifier.load(tmp_path / "model")
    loaded = Classifier.load(tmp_path / "model", trust_code=True)
    assert np.array_equal(loaded.predict_proba(some()), own.predict_proba(some()))


def test_own_code_that_was_changed_is_refused(own, tmp_path):
    with (tmp_path / "model" / "network.py").open("a") as file:
        file.write("print('something else')\n")
    with pytest.raises(ModelError, match="not made on this machine"):
        Classifier.load(tmp_path / "model")


@pytest.fixture
def traps(own, tmp_path):
    """A model folder with code in files of several kinds, each of which leaves a file `ran` when it runs."""
    folder, ran = tmp_path / "model", tmp_path / "ran"
    trap = tmp_path / "trap.py"
    trap.write_text(f"open({str(ran)!r}, 'w').close()\n")
    for name in ("x.pyc", "a.pyc"):
        py_compile.compile(str(trap), str(folder / name))
    for name in ("x.so", "a", "y.py", "other.py"):
        shutil.copy(trap, folder / name)
    return folder, ran


@pytest.mark.parametrize(
    "name",
    ["x.pyc:y.py", "x.so:y.py", "a:b.py", "y.py", "other.py:network", "network.py:a.b", "../network.py:network"],
)
@pytest.mark.parametrize("trust", [False, True])
def test_a_received_folder_runs_no_code_but_its_network_py(traps, monkeypatch, name, trust):
    folder, ran = traps
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(config | {"architecture": name}))
    monkeypatch.chdir(folder)
    with pytest.raises(ModelError, match=r"should name the network's own code as network\.py:FUNCTION"):
        Classifier.load(folder, trust_code=trust)
    assert not ran.exists()


def test_own_code_that_needs_a_file_beside_it_is_refused_with_the_way_out(tmp_path):
    (tmp_path / "parts.py").write_text("def head(n):\n    return n\n")
    (tmp_path / "mine.py").write_text(
        "from parts import head\n\ndef network(num_classes):\n    return head(num_classes)\n"
    )
    with pytest.raises(ModelError, match="put both into one file"):
        make(f"{tmp_path / 'mine.py'}:network")


def test_bytes_of_a_picture_may_come_from_memory(classifier, photo):
    with io.BytesIO() as memory:
        Image.open(photo).save(memory, "PNG")
        assert classifier.predict(memory.getvalue()).tolist() == ["red"]


def test_features_and_logits_of_one_pass_are_those_of_the_head(classifier):
    seen = classifier.embed([some(size=classifier.preprocessing.size_px)])
    assert np.allclose(seen.logits, classifier.logits([some(size=classifier.preprocessing.size_px)]), atol=1e-5)
    head = linear_head(classifier.network)
    with torch.no_grad():
        assert np.allclose(head(torch.from_numpy(seen.features)).numpy(), seen.logits, atol=1e-4)


def test_whether_a_network_has_features_is_tried_once(classifier, monkeypatch):
    block = some(size=classifier.preprocessing.size_px)
    classifier.embed([block])
    monkeypatch.setattr("linnaeus.classifier.features", None)
    assert classifier.embed([block]).features is not None


def test_a_network_that_does_not_end_in_a_linear_layer_has_no_features(tmp_path):
    (tmp_path / "mine.py").write_text(
        OWN.replace("nn.Linear(width, num_classes))", "nn.Linear(width, num_classes), nn.Tanh())")
    )
    seen = make(f"{tmp_path / 'mine.py'}:network").embed([some()])
    assert seen.features is None
    assert seen.logits.shape == (5, 3)


def test_what_was_learned_of_the_unknown_comes_back(careful, tmp_path):
    loaded = Classifier.load(careful.folder)
    loaded.save(tmp_path)
    again = Classifier.load(tmp_path)
    blank = np.repeat(np.random.default_rng(1).integers(0, 256, (40, 1, 1, 3), dtype=np.uint8), 20, 1).repeat(20, 2)
    assert again.predict(blank, unknown=True).tolist() == loaded.predict(blank, unknown=True).tolist()
    assert (loaded.predict(blank, unknown=True) == "unknown").mean() > 0.5
    assert "unknown" not in loaded.predict(blank)


def test_a_model_that_cannot_tell_the_unknown_says_so(classifier):
    with pytest.raises(ModelError, match="too few validation pictures"):
        classifier.predict([some()[0]], unknown=True)


@pytest.mark.parametrize("damage", [b"", b"no arrays"])
def test_a_damaged_judgement_is_refused(careful, tmp_path, damage):
    Classifier.load(careful.folder).save(tmp_path)
    (tmp_path / "judgement.safetensors").write_bytes(damage)
    with pytest.raises(ModelError, match=r"judgement.safetensors"):
        Classifier.load(tmp_path)


def test_own_code_is_saved_as_it_was_when_the_network_was_built(own, tmp_path):
    (tmp_path / "mine.py").write_text(OWN.replace("nn.AdaptiveAvgPool2d(1)", "nn.AdaptiveMaxPool2d(1)"))
    own.save(tmp_path / "later")
    assert (tmp_path / "later" / "network.py").read_text() == OWN
    assert np.array_equal(Classifier.load(tmp_path / "later").predict_proba(some()), own.predict_proba(some()))


def test_a_model_takes_nothing_over_from_the_one_that_was_saved_there_before(careful, tmp_path):
    loaded = Classifier.load(careful.folder)
    loaded.save(tmp_path)
    replace(loaded, judgement=None).save(tmp_path)
    assert Classifier.load(tmp_path).judgement is None


def test_several_threads_may_ask_one_classifier(classifier):
    pictures = some(4, 16)
    alone = classifier.predict_proba(pictures)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: classifier.predict_proba(pictures), range(24)))
    assert all(np.allclose(one, alone) for one in answers)
