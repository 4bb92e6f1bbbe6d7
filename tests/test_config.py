import pytest
from pydantic import ValidationError

from linnaeus.config import OptimSettings, Recipe, load_recipe, recipe_for, recipe_names, setting_names
from linnaeus.errors import SettingsError


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("seed = 5\n[optim]\nlr = 0.5\nname = 'sgd'\n")
    return str(path)


def test_the_command_line_goes_before_the_recipe_and_that_before_the_defaults(recipe):
    made = load_recipe(recipe, {"optim.lr": 0.25})
    assert (made.optim.lr, made.optim.name, made.seed) == (0.25, "sgd", 5)
    assert made.optim.momentum == Recipe().optim.momentum


def test_without_anything_all_is_default():
    assert load_recipe() == Recipe()


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("optim.lr", "1e-2", 0.01),
        ("train.calibrate", "false", False),
        ("train.balance", "smote", "smote"),
        ("augment.crop_area", "[0.1, 1]", (0.1, 1.0)),
        ("model.freeze", "3", 3),
        ("model.freeze", "backbone", "backbone"),
        ("model.name", "resnet18.a1_in1k", "resnet18.a1_in1k"),
        ("model.options.batch_norm", "true", True),
        ("data.background", "[0, 0, 0]", (0, 0, 0)),
        ("seed", "7", 7),
    ],
)
def test_text_values_are_read_by_kind(name, text, value):
    found = load_recipe(None, {name: text})
    for step in name.split("."):
        found = found[step] if isinstance(found, dict) else getattr(found, step)
    assert found == value


def test_a_name_that_looks_like_a_number_stays_text():
    assert load_recipe(None, {"split.salt": "words"}).split.salt == "words"


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("optim.learning_rate", "optim."), ("train.epoch", "train.epochs"), ("augment.rotate", "rotate_deg")],
)
def test_misspelt_settings_are_refused_with_the_nearest_names(wrong, right):
    with pytest.raises(SettingsError, match="does not exist") as caught:
        load_recipe(None, {wrong: "1"})
    assert right in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("optim.lr", "-1"),
        ("optim.lr", "inf"),
        ("optim.lr", "fast"),
        ("optim.name", "sdg"),
        ("model.freeze", "-1"),
        ("train.batch_size", "0"),
        ("augment.shift", "0.9"),
        ("split.val", "1"),
        ("data.size_px", "1"),
        ("seed", "-1"),
    ],
)
def test_values_that_do_not_hold_are_refused_by_name(name, value):
    with pytest.raises(SettingsError, match=name):
        load_recipe(None, {name: value})


@pytest.mark.parametrize("name", ["optim.lr.more", "seed.x", "optim"])
def test_a_path_through_a_value_is_refused(name):
    with pytest.raises(SettingsError):
        load_recipe(None, {"optim.lr": "1", "seed": "1", name: "1"})


def test_settings_are_frozen():
    with pytest.raises(ValidationError):
        OptimSettings().lr = 1.0
    with pytest.raises(ValidationError):
        Recipe().seed = 1


@pytest.mark.parametrize("name", recipe_names())
def test_every_packaged_recipe_holds_and_opens_with_its_command(name):
    from linnaeus.config import RECIPES

    load_recipe(name)
    first, second, *_ = (RECIPES / f"{name}.toml").read_text().splitlines()
    assert first.startswith("# linnaeus train ")
    assert name in first
    assert second.startswith("# expected:")


def test_the_lessons_have_a_recipe_each():
    lessons = {"keras-cifar10", "keras-basic-64", "keras-folder-150", "keras-cifar10-dropout", "torch-simplecnn"}
    assert lessons <= set(recipe_names())
    assert all(recipe_for(name.replace("-", "_")) == name for name in lessons)
    assert recipe_for("resnet18") is None


def test_an_unknown_recipe_is_refused_with_the_nearest():
    with pytest.raises(SettingsError, match="take keras-cifar10"):
        load_recipe("keras-cifar")


def test_a_recipe_file_that_is_no_toml_is_refused(tmp_path):
    (tmp_path / "bad.toml").write_text("[optim\nlr")
    with pytest.raises(SettingsError, match="should be TOML"):
        load_recipe(str(tmp_path / "bad.toml"))
    with pytest.raises(SettingsError, match="does not exist"):
        load_recipe(str(tmp_path / "missing.toml"))


def test_a_recipe_survives_the_way_through_json():
    made = load_recipe("keras-folder-150", {"augment.crop_area": [0.1, 1], "model.options.batch_norm": True})
    assert Recipe.model_validate(made.model_dump(mode="json")) == made


def test_every_setting_is_documented_in_place():
    for name, field in Recipe.model_fields.items():
        groups = getattr(field.annotation, "model_fields", {name: field})
        assert all(inner.description for inner in groups.values()), name
    assert "optim.lr" in setting_names()


@pytest.mark.parametrize("shares", [(0.5, 0.4), (0.0, 0.5), (0.5, 1.0), (-0.1,)])
def test_shares_of_progressive_freezing_ascend_inside_the_run(shares):
    with pytest.raises(SettingsError, match="freeze_after"):
        load_recipe(None, {"model.freeze_after": shares})


@pytest.mark.parametrize(
    "wrong",
    [
        {"augment.zoom": (1.2, 0.8)},
        {"augment.zoom": (0.0, 1.0)},
        {"augment.crop_area": (0.5, 1.1)},
        {"augment.crop_area": (1.0, 0.5)},
        {"augment.crop_ratio": (0.0, 1.0)},
    ],
    ids=str,
)
def test_ranges_go_from_the_least_to_the_largest(wrong):
    with pytest.raises(SettingsError, match="least"):
        load_recipe(None, wrong)
    load_recipe(None, {"augment.zoom": (0.8, 1.2), "augment.crop_area": (0.5, 1.0), "augment.crop_ratio": (1.0, 1.0)})


def test_one_cycle_takes_no_warm_up_beside_its_own():
    with pytest.raises(SettingsError, match="rises by itself"):
        load_recipe(None, {"optim.schedule": "one-cycle", "optim.warmup": 0.1})


@pytest.mark.parametrize("other", [{"model.freeze": 1}, {"model.freeze": "backbone"}, {"model.unfreeze_every": 2}])
def test_stages_are_frozen_in_one_way_only(other):
    with pytest.raises(SettingsError, match="three ways"):
        load_recipe(None, {"model.freeze_after": (0.5,)} | other)
    load_recipe(None, {"model.freeze_after": (), "model.freeze": "none"})
    load_recipe(None, {"model.freeze_after": ()} | other)
