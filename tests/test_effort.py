import shutil

import pytest

from conftest import write_photos
from linnaeus.config import load_recipe
from linnaeus.learn import effort
from linnaeus.learn.effort import EFFORTS, expected_s, remember_pace, seconds_of_looking, what_is_done
from linnaeus.learn.engine import Engine, Machine
from linnaeus.story import cleaned
from linnaeus.story.pictures import open_pictures, where_of
from linnaeus.story.planned import look
from linnaeus.talk import Talk
from linnaeus.verbs.plan import Facts, plan, preprocessing

FACTS = Facts(pictures=2500, train=1750, val=375, classes=5, side_px=300, grey=False)
MACHINE = Machine("cpu", "some processor", 2, 8.0, True)


def expected(how_far="balanced", facts=FACTS, look_s=0.003, **settings):
    used, _ = plan(load_recipe(None, {"effort": how_far, **settings}), facts, MACHINE)
    return expected_s(used, facts.pictures, facts.train, facts.val, look_s, MACHINE.cores)


def test_more_effort_is_expected_to_take_longer():
    quick, balanced, best = (expected(name) for name in EFFORTS)
    assert quick < 0.5 * balanced < balanced < best


def test_more_pictures_and_a_slower_network_are_expected_to_take_longer():
    many = Facts(pictures=25_000, train=17_500, val=3_750, classes=5, side_px=300, grey=False)
    assert expected("quick", many) > 3 * expected("quick")
    assert expected(look_s=0.006) > 1.5 * expected()


def test_learning_everything_takes_longer_than_the_upper_stages():
    assert expected(**{"model.freeze": "none", "train.views": 0}) > 1.3 * expected()


def test_only_pictures_for_validation_are_looked_at_in_every_pass():
    """A large test part, as CIFAR-10's, is looked at once, at the end."""
    few, many = (Facts(pictures=2500, train=1000, val=val, classes=5, side_px=32, grey=False) for val in (100, 1100))
    settings = {"model.name": "small-32", "train.epochs": 4}
    more = expected(facts=many, look_s=0.01, **settings) - expected(facts=few, look_s=0.01, **settings)
    assert more == pytest.approx(4 * 1000 * 0.01)


def test_the_parts_that_a_source_gives_are_counted(tmp_path):
    for part, each in (("train", 6), ("val", 3), ("test", 4)):
        write_photos(tmp_path / part, each=each)
    facts = look(open_pictures(where_of(str(tmp_path)), Talk()), load_recipe(None))
    assert (facts.pictures, facts.train, facts.val) == (39, 18, 9)
    shutil.rmtree(tmp_path / "val")
    facts = look(open_pictures(where_of(str(tmp_path)), Talk()), load_recipe(None, {"split.val": 0.5}))
    assert (facts.pictures, facts.train, facts.val) == (30, 9, 9)


def test_views_of_an_answer_cost_nothing_while_learning():
    """Six views take six times as long to look at, and a step as long as with one."""
    facts = Facts(pictures=60_000, train=59_990, val=5, classes=10, side_px=32, grey=False)
    one, six = (
        expected(facts=facts, look_s=0.0005 * views, **{"model.name": "small-64", "model.options.views": views})
        for views in (1, 6)
    )
    assert six == pytest.approx(one, rel=0.01)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, EFFORTS["balanced"].words),
        ({"model.name": "small-32", "train.epochs": 0.7}, "0.7 passes over the training pictures, from nothing"),
        (
            {"train.start": "fresh", "train.epochs": 1},
            "1 pass over the training pictures, from given weights, with a new head",
        ),
        (
            {"model.name": "small-32", "train.epochs": 3, "budget_s": 600},
            "at most 3 passes over the training pictures, from nothing",
        ),
    ],
)
def test_what_is_done_is_told_as_it_is_planned(settings, told):
    used, _ = plan(load_recipe(None, settings), FACTS, MACHINE)
    assert what_is_done(used) == told


@pytest.mark.parametrize("views", [0, False, "two"])
def test_an_option_called_views_of_another_network_does_no_harm(views):
    assert expected(**{"model.options.views": views}) == expected()


@pytest.mark.parametrize("name", ["small-32", "keras-cifar10"])
def test_the_pace_is_measured_on_the_network_itself(name):
    used, _ = plan(load_recipe(None, {"model.name": name}), FACTS, MACHINE)
    assert 0 < seconds_of_looking(used, 5, preprocessing(used)) < 5


def test_a_pace_is_measured_once_and_remembered(monkeypatch, tmp_path):
    monkeypatch.setenv("LINNAEUS_CACHE", str(tmp_path))
    used, _ = plan(load_recipe(None, {"model.name": "small-32"}), FACTS, MACHINE)
    first = seconds_of_looking(used, 5, preprocessing(used))
    assert seconds_of_looking(used, 5, preprocessing(used)) == first
    remember_pace(used, preprocessing(used), 0.25)
    assert seconds_of_looking(used, 5, preprocessing(used)) == 0.25


@pytest.mark.parametrize(("size_px", "each"), [(8, 1024), (256, 8)])
def test_a_pace_is_measured_on_enough_pixels(monkeypatch, tmp_path, size_px, each):
    """A few small pictures would measure the calls, and many large ones would take long."""
    monkeypatch.setenv("LINNAEUS_CACHE", str(tmp_path))
    seen = []
    monkeypatch.setattr(effort, "seconds_per_picture", lambda network, sample, how, engine: seen.append(sample) or 0.1)
    used, _ = plan(load_recipe(None, {"model.name": "small-32", "data.size_px": size_px}), FACTS, MACHINE)
    seconds_of_looking(used, 5, preprocessing(used))
    assert seen[0].shape == (each * Engine(str(used.train.precision)).cores, size_px, size_px, 3)


def test_where_all_is_over_in_seconds_the_usual_pace_is_told(monkeypatch, tmp_path):
    monkeypatch.setenv("LINNAEUS_CACHE", str(tmp_path))
    monkeypatch.setattr(effort, "seconds_per_picture", None)
    used, _ = plan(load_recipe(None, {"effort": "quick"}), FACTS, MACHINE)
    assert 0 < seconds_of_looking(used, 5, preprocessing(used)) < 0.05


def test_a_cache_that_cannot_be_written_does_not_stop_a_plan(monkeypatch, tmp_path):
    (tmp_path / "taken").write_text("a file")
    monkeypatch.setenv("LINNAEUS_CACHE", str(tmp_path / "taken"))
    used, _ = plan(load_recipe(None, {"model.name": "small-32"}), FACTS, MACHINE)
    assert seconds_of_looking(used, 5, preprocessing(used)) > 0


def test_the_pace_of_own_code_is_not_remembered(monkeypatch, tmp_path, own):
    monkeypatch.setenv("LINNAEUS_CACHE", str(tmp_path / "cache"))
    used, _ = plan(load_recipe(None, {"model.name": own["model.name"]}), FACTS, MACHINE)
    remember_pace(used, preprocessing(used), 123.0)
    assert seconds_of_looking(used, 5, preprocessing(used)) < 123


def test_the_features_of_an_audit_do_not_count_as_the_networks_pace(train_quickly, monkeypatch):
    told, embed = [], cleaned.embed

    def slow(*asked, talk, **more):
        features = embed(*asked, talk=talk, **more)
        talk.seconds["features"] += 1000
        return features

    monkeypatch.setattr(cleaned, "embed", slow)
    monkeypatch.setattr("linnaeus.verbs.train.remember_pace", lambda used, how, seconds: told.append(seconds))
    head = {"model.name": "keras-cifar10", "train.start": "head", "train.epochs": 0, "data.size_px": 16}
    run = train_quickly(**head, **{"train.clean": "auto"})
    assert run.summary()["stages"]["features"] > 1000
    assert len(told) == 1
    assert told[0] < 10
