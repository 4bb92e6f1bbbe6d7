"""explain: pictures named by the user, and a run's own."""

import copy
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from linnaeus.errors import ModelError, RunError, SettingsError
from linnaeus.run import Run
from linnaeus.talk import Talk
from linnaeus.verbs.explain import check_methods, explain, explain_run

pytest.importorskip("captum")
pytest.importorskip("pytorch_grad_cam")
METHODS = ("grad-cam", "integrated-gradients")


@pytest.fixture
def run(trained, tmp_path):
    """A run to write into."""
    return Run.open(shutil.copytree(trained.folder, tmp_path / "run"))


@pytest.fixture
def paths(photos):
    return [str(path) for path in sorted(photos.rglob("*.png"))[::30]]


def test_every_picture_gets_a_map_of_every_method(classifier, paths):
    done = list(explain(classifier, paths, METHODS))
    assert [one.path for one in done] == paths
    assert all(tuple(one.heat) == METHODS and one.heat["grad-cam"].shape == (16, 16) for one in done)
    assert [one.predicted for one in done] == classifier.predict(paths).tolist()
    assert [one.confidence for one in done] == pytest.approx(classifier.predict_proba(paths).max(1).tolist(), abs=1e-5)


def test_a_broken_picture_is_a_row_with_an_error_and_does_not_stop_the_others(classifier, paths, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    done = list(explain(classifier, [paths[0], str(broken), "missing.png", paths[1]], METHODS, tmp_path / "out"))
    assert [bool(one.error) for one in done] == [False, True, True, False]
    assert done[1].row()["maps"] == {} and done[1].confidence is None and "not a picture" in done[1].words()


def test_a_sheet_and_a_picture_per_method_are_written(classifier, paths, trained, tmp_path):
    (done,) = explain(classifier, paths[:1], METHODS, tmp_path / "out", run=trained)
    written = {str(path) for path in (tmp_path / "out").iterdir()}
    assert written == {done.sheet, *done.files.values()} and len(written) == 3
    for path in written:
        with Image.open(path) as picture:
            assert picture.format == "PNG" and picture.width > 400
    assert len(done.neighbours) == 5 and done.neighbours[0].label in done.words()
    json.dumps(done.row())


def test_pictures_of_the_same_name_do_not_overwrite_each_other(classifier, photos, tmp_path):
    same = [str(photos / name / "000.png") for name in classifier.classes]
    sheets = [one.sheet for one in explain(classifier, same, ["grad-cam"], tmp_path / "out")]
    assert len(set(sheets)) == 3 and all(np.asarray(Image.open(sheet)).size for sheet in sheets)


def test_nothing_is_written_without_a_folder_or_beside_the_pictures(classifier, photos, tree_hash):
    before = tree_hash(photos)
    folder = photos / classifier.classes[0]
    list(explain(classifier, [str(folder / "000.png")], ["grad-cam"]))
    with pytest.raises(SettingsError, match="another folder"):
        list(explain(classifier, [str(folder / "000.png")], ["grad-cam"], folder))
    assert tree_hash(photos) == before


def test_another_class_can_be_explained(classifier, paths):
    other = next(name for name in classifier.classes if name != classifier.predict(paths[:1])[0])
    (answer,) = explain(classifier, paths[:1], METHODS)
    (asked,) = explain(classifier, paths[:1], METHODS, class_name=other)
    assert (asked.explained, asked.predicted) == (other, answer.predicted)
    assert not np.array_equal(asked.heat["integrated-gradients"], answer.heat["integrated-gradients"])
    assert f"explained for {other}" in asked.words()


def test_mistakes_of_the_user_are_told_before_any_work(classifier, paths, tmp_path):
    with pytest.raises(SettingsError, match="did you mean occlusion"):
        explain(classifier, paths, ["oclusion"])
    with pytest.raises(SettingsError, match="did you mean green"):
        explain(classifier, paths, METHODS, class_name="gren")
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="should be a folder"):
        explain(classifier, paths, METHODS, tmp_path / "file")


def test_a_network_without_places_is_told_what_to_take(classifier, paths):
    from dataclasses import replace

    flat = replace(classifier, network=torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(768, 3)))
    with pytest.raises(ModelError, match="integrated-gradients"):
        explain(flat, paths, ["grad-cam"])
    assert next(explain(flat, paths, ["integrated-gradients"])).heat["integrated-gradients"].any()


def test_the_classifier_is_as_it_was(classifier, paths, run):
    network = classifier.network
    network.train()
    weights = copy.deepcopy(network.state_dict())
    grads = [one.requires_grad for one in network.parameters()]
    hooks = [(len(layer._forward_hooks), len(layer._backward_hooks)) for layer in network.modules()]
    list(explain(classifier, paths, METHODS, run=run))
    check_methods(classifier, paths, METHODS)
    explain_run(run, methods=METHODS, most=3, classifier=classifier)
    assert all(layer.training for layer in network.modules())
    network.eval()
    assert all(torch.equal(value, weights[name]) for name, value in network.state_dict().items())
    assert [one.requires_grad for one in network.parameters()] == grads
    assert all(one.grad is None for one in network.parameters())
    assert [(len(layer._forward_hooks), len(layer._backward_hooks)) for layer in network.modules()] == hooks


def test_a_run_explains_its_own_test_pictures(run):
    document = explain_run(run, methods=METHODS, most=9)
    assert document == run.result("explain")
    assert document["methods"] == list(METHODS) and document["believe"] is None and document["checks"] == {}
    judged = run.predictions(document["part"])
    rows = {id: row for row, id in enumerate(judged.ids)}
    for one in document["pictures"]:
        row = rows[one["id"]]
        assert one["label"] == judged.classes[judged.labels[row]]
        assert (one["kind"] == "right") <= (one["label"] == one["predicted"])
        assert (one["kind"] == "wrong") <= (one["label"] != one["predicted"])
        assert set(one["maps"]) == set(METHODS) and not one["error"]
        for path in one["maps"].values():
            assert path.startswith("pictures/explain/") and (run.folder / path).is_file()
        assert [set(near) for near in one["neighbours"]] == 5 * [{"id", "label", "similarity"}]
    assert 1 <= len(document["pictures"]) <= 9


def test_the_checks_of_a_run_say_what_to_believe(run):
    said = []
    document = explain_run(run, Talk(say=said.append), methods=METHODS, most=6, checks=True)
    assert set(document["checks"]) == set(METHODS)
    assert {"randomisation", "deletion", "insertion", "seconds"} <= set(document["checks"]["grad-cam"])
    assert document["believe"] in (None, *METHODS)
    assert said[0].startswith("explained 6 pictures of the test part") and "believe" in said[-1]


def test_explaining_again_leaves_no_pictures_of_the_first_time(run):
    explain_run(run, methods=METHODS, most=6)
    document = explain_run(run, methods=["grad-cam"], most=3)
    there = {path.name for path in (run.folder / "pictures/explain").iterdir()}
    assert there == {one["maps"]["grad-cam"].rpartition("/")[2] for one in document["pictures"]}
    assert len(there) == 3


def test_a_test_picture_that_is_gone_is_a_row_with_an_error(photos, train_quickly, tmp_path):
    source = shutil.copytree(photos, tmp_path / "photos")
    run, said = train_quickly(source), []
    for id in run.predictions("test").ids:
        (source / id).unlink()
    document = explain_run(run, Talk(say=said.append), methods=["grad-cam"], most=4, checks=True)
    assert all(one["error"].startswith("missing") and one["maps"] == {} for one in document["pictures"])
    assert document["checks"] == {} and any("can no longer be read" in line for line in said)


def test_a_run_without_predictions_is_refused(run):
    shutil.rmtree(run.folder / "predictions")
    with pytest.raises(RunError, match="predictions of labelled pictures"):
        explain_run(run)


def test_checks_need_a_picture_that_can_be_read(classifier):
    with pytest.raises(SettingsError, match="none that can be read"):
        check_methods(classifier, ["missing.png"], METHODS)


def test_checks_of_the_users_pictures_name_a_method_or_none(classifier, paths):
    found = check_methods(classifier, [*paths, "missing.png"], METHODS)
    assert set(found.methods) == set(METHODS) and found.methods["grad-cam"].gain.n == len(paths)
