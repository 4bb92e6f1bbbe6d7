import re
from dataclasses import replace

import pytest

from linnaeus.config import Recipe, load_recipe, recipe_names
from linnaeus.errors import ModelError, SettingsError
from linnaeus.learn.effort import EFFORTS
from linnaeus.learn.engine import Machine
from linnaeus.nn import zoo
from linnaeus.verbs.plan import Facts, afford, plan, preprocessing

DIGITS = Facts(pictures=1797, train=1258, val=270, classes=10, side_px=8, grey=True)
CIFAR = Facts(pictures=60_000, train=42_500, val=7_500, classes=10, side_px=32, grey=False)
PHOTOS = Facts(pictures=2521, train=1765, val=378, classes=5, side_px=300, grey=False)
GREY_PHOTOS = Facts(pictures=500, train=350, val=75, classes=2, side_px=512, grey=True)
TINY = Facts(pictures=4, train=2, val=1, classes=2, side_px=30, grey=False)
ALL = {"digits": DIGITS, "cifar": CIFAR, "photos": PHOTOS, "grey photos": GREY_PHOTOS, "tiny": TINY}
PLAIN = Machine("cpu", "some processor", 2, 8.0, False)
QUICK = Machine("cpu", "some processor", 2, 8.0, True)
GPU = Machine("cuda", "some GPU", 16, 64.0, True)

NEEDED = {
    "data": ("size_px", "resize", "crop_fraction", "interpolation", "channels"),
    "model": ("name", "weights"),
    "augment": ("flip", "shift", "fill", "color"),
    "optim": ("name", "lr", "schedule", "weight_decay"),
    "train": ("start", "epochs", "batch_size", "precision", "label_smoothing"),
}


def open_settings(used):
    return [
        f"{group}.{name}"
        for group, names in NEEDED.items()
        for name in names
        if getattr(getattr(used, group), name) is None
    ]


@pytest.mark.parametrize("facts", ALL.values(), ids=ALL)
@pytest.mark.parametrize("recipe", [None, *recipe_names()])
def test_nothing_that_training_needs_stays_open(facts, recipe):
    used, _ = plan(load_recipe(recipe), facts, PLAIN)
    assert open_settings(used) == []
    preprocessing(used)


@pytest.mark.parametrize("facts", ALL.values(), ids=ALL)
def test_every_decision_has_a_reason_and_was_open_before(facts):
    used, decisions = plan(Recipe(), facts, PLAIN)
    assert decisions
    for one in decisions:
        group, name = one.setting.split(".")
        assert getattr(getattr(Recipe(), group), name) is None
        assert getattr(getattr(used, group), name) == one.value
        assert len(one.reason) > 5
    settings = [one.setting for one in decisions]
    assert len(settings) == len(set(settings))


@pytest.mark.parametrize("recipe", recipe_names())
def test_what_a_lesson_sets_stays(recipe):
    asked = load_recipe(recipe)
    used, decisions = plan(asked, PHOTOS, QUICK)
    decided = {one.setting for one in decisions}
    for group in NEEDED:
        for name, value in getattr(asked, group):
            if value is not None:
                assert getattr(getattr(used, group), name) == value
                assert f"{group}.{name}" not in decided


def test_what_the_user_sets_stays():
    asked = load_recipe(None, {"model.name": "resnet18", "optim.lr": 0.123, "train.epochs": 3, "data.size_px": 96})
    used, decisions = plan(asked, CIFAR, PLAIN)
    assert (used.model.name, used.optim.lr, used.train.epochs, used.data.size_px) == ("resnet18", 0.123, 3, 96)
    assert not {"model.name", "optim.lr", "train.epochs", "data.size_px"} & {one.setting for one in decisions}


def test_the_users_recipe_is_not_written_to():
    asked = Recipe()
    plan(asked, PHOTOS, PLAIN)
    assert asked == Recipe()


def test_photographs_start_from_published_weights_and_small_pictures_from_nothing():
    assert plan(Recipe(), PHOTOS, PLAIN)[0].model.weights == "default"
    assert plan(Recipe(), CIFAR, PLAIN)[0].model.weights == "none"


def test_grey_pictures_get_one_channel_where_no_weights_expect_three():
    assert plan(Recipe(), DIGITS, PLAIN)[0].data.channels == 1
    assert plan(Recipe(), GREY_PHOTOS, PLAIN)[0].data.channels == 3


def test_characters_are_not_mirrored():
    assert plan(Recipe(), DIGITS, PLAIN)[0].augment.flip == "none"
    assert plan(Recipe(), CIFAR, PLAIN)[0].augment.flip != "none"


def test_bf16_is_taken_where_the_processor_has_it_unless_asked_otherwise():
    assert plan(Recipe(), CIFAR, QUICK)[0].train.precision == "bf16"
    assert plan(Recipe(), CIFAR, PLAIN)[0].train.precision == "fp32"
    assert plan(load_recipe(None, {"train.precision": "fp32"}), CIFAR, QUICK)[0].train.precision == "fp32"


def test_a_batch_is_never_larger_than_the_data():
    assert plan(Recipe(), TINY, PLAIN)[0].train.batch_size <= 2


def test_pictures_are_prepared_as_the_network_expects():
    how = preprocessing(plan(load_recipe(None, {"model.name": "resnet18"}), PHOTOS, PLAIN)[0])
    cfg = zoo.published_cfg("resnet18")
    assert how.mean == tuple(cfg["mean"])
    assert how.size_px == cfg["input_size"][-1]
    assert how.resize_px == round(how.size_px / cfg["crop_pct"])


def test_one_channel_takes_the_mean_of_the_colours():
    how = preprocessing(plan(load_recipe(None, {"data.channels": 1, "model.name": "small-32"}), CIFAR, PLAIN)[0])
    assert len(how.mean) == len(how.std) == how.channels == 1


@pytest.mark.parametrize(
    "name", ["vit_tiny_patch16_224", "vgg11", "alexnet", "efficientnet_b0", "inception_v3", "small-64"]
)
@pytest.mark.parametrize("facts", [CIFAR, PHOTOS], ids=["cifar", "photos"])
def test_any_network_gets_a_whole_plan(name, facts):
    used, _ = plan(load_recipe(None, {"model.name": name, "model.weights": "none"}), facts, PLAIN)
    assert open_settings(used) == []


def test_own_code_gets_a_whole_plan(tmp_path):
    used, _ = plan(load_recipe(None, {"model.name": f"{tmp_path}/net.py:make"}), PHOTOS, PLAIN)
    assert open_settings(used) == []
    assert used.model.weights == "none"


def test_own_code_is_looked_at_with_the_pictures_that_it_is_made_for(tmp_path):
    path, weights = tmp_path / "net.py", tmp_path / "w.safetensors"
    path.write_text(
        "from torch import nn\n\ndef make(num_classes, width):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(32 * 32, width), nn.Linear(width, num_classes))\n"
    )
    asked = {"model.name": f"{path}:make", "model.weights": str(weights), "model.options": {"width": 4}}
    used, _ = plan(load_recipe(None, asked | {"data.size_px": 32, "data.channels": 1}), PHOTOS, PLAIN)
    assert used.train.start == "head"
    assert open_settings(used) == []


@pytest.mark.parametrize("further", [{}, {"effort": "quick"}, {"train.epochs": 0}], ids=str)
def test_stages_that_freeze_on_the_way_are_not_frozen_from_the_beginning(further):
    used, _ = plan(load_recipe(None, {"model.freeze_after": (0.4, 0.8)} | further), PHOTOS, PLAIN)
    assert used.model.freeze == "none"
    assert used.model.freeze_after == (0.4, 0.8)


def test_muon_is_refused_for_weights_that_it_would_break():
    with pytest.raises(SettingsError, match="muon is for networks that begin from nothing"):
        plan(load_recipe(None, {"optim.name": "muon"}), PHOTOS, PLAIN)


@pytest.mark.parametrize(
    ("optimizer", "start"),
    [(name, start) for name in ("adam", "adamw", "sgd") for start in ("head", "fresh")],
)
def test_every_optimizer_gets_a_rate(optimizer, start):
    asked = load_recipe(
        None, {"optim.name": optimizer, "train.start": start, "train.epochs": 3, "model.name": "resnet18"}
    )
    used, _ = plan(asked, PHOTOS, PLAIN)
    assert used.optim.lr > 0


def test_an_unknown_network_is_an_error_before_any_picture_is_read():
    with pytest.raises(ModelError, match="does not exist"):
        plan(load_recipe(None, {"model.name": "resnt18"}), PHOTOS, PLAIN)


def test_a_model_folder_of_timm_gets_a_whole_plan(trained):
    asked = load_recipe(None, {"model.name": f"local-dir:{trained.model_dir}"})
    assert open_settings(plan(asked, TINY, PLAIN)[0]) == []


def balance_of(facts, **settings):
    used, decisions = plan(
        load_recipe(None, {f"train.{name}": value for name, value in settings.items()}), facts, PLAIN
    )
    return used.train.balance, next((one.reason for one in decisions if one.setting == "train.balance"), "")


def test_classes_of_very_unequal_size_are_balanced_if_that_helps():
    assert balance_of(replace(PHOTOS, smallest=20, largest=1000)) == (
        "auto",
        "the largest class has 50 times as many pictures as the smallest",
    )


@pytest.mark.parametrize(
    "facts", [PHOTOS, replace(PHOTOS, smallest=290, largest=440), replace(CIFAR, smallest=4200, largest=4300)]
)
def test_classes_of_about_equal_size_are_left_as_they_are(facts):
    balance, reason = balance_of(facts)
    assert balance == "none"
    assert "no class" in reason


def test_a_balance_that_was_asked_for_stays_whatever_the_sizes():
    assert balance_of(PHOTOS, balance="oversample") == ("oversample", "")
    assert balance_of(replace(PHOTOS, smallest=2, largest=900), balance="none") == ("none", "")


def test_the_logit_adjusted_loss_is_balance_enough():
    unequal = replace(PHOTOS, smallest=2, largest=900)
    assert balance_of(unequal, loss="logit-adjusted")[0] == "none"
    assert balance_of(unequal, loss="logit-adjusted", balance="auto")[0] == "auto"
    with pytest.raises(SettingsError, match="already") as caught:
        balance_of(unequal, loss="logit-adjusted", balance="weights")
    assert "weights" in caught.value.got


def test_smote_without_a_solved_head_is_refused_and_says_what_to_take():
    with pytest.raises(SettingsError, match="smote") as caught:
        balance_of(CIFAR, balance="smote")
    assert "oversample" in caught.value.fix
    assert balance_of(PHOTOS, balance="smote")[0] == "smote"


@pytest.mark.parametrize(("budget_s", "name"), [(None, "small-64"), (600, "small-64"), (65, "small-32")])
def test_a_short_budget_takes_the_slim_network_for_many_small_pictures(budget_s, name):
    used, decisions = plan(load_recipe(None, {} if budget_s is None else {"budget_s": budget_s}), CIFAR, QUICK)
    assert used.model.name == name
    reason = next(one.reason for one in decisions if one.setting == "model.name")
    assert ("budget" in reason) == (name == "small-32")


def test_a_gpu_gets_more_small_pictures_at_a_time_at_the_rate_that_belongs_to_them():
    on_cpu, on_gpu = (plan(Recipe(), CIFAR, machine)[0] for machine in (QUICK, GPU))
    assert (on_cpu.train.batch_size, on_gpu.train.batch_size) == (500, 2000)
    assert (on_cpu.optim.lr, on_gpu.optim.lr) == (0.12, 0.24)
    assert plan(Recipe(), PHOTOS, GPU)[0].train.batch_size == plan(Recipe(), PHOTOS, QUICK)[0].train.batch_size


def effort(name, facts=PHOTOS, **settings):
    return plan(load_recipe(None, {"effort": name, **settings}), facts, QUICK)[0]


def test_quick_keeps_the_solved_head_and_more_effort_learns_more():
    quick, balanced, best = (effort(name) for name in EFFORTS)
    assert quick.train.epochs == 0
    assert 0 < balanced.train.epochs < best.train.epochs
    assert quick.data.size_px <= balanced.data.size_px <= best.data.size_px
    assert balanced.model.freeze > best.model.freeze


@pytest.mark.parametrize(("epochs", "views"), [(1, 1), (2.5, 3), (6, 6), (30, 6)])
def test_there_is_a_view_for_each_pass_up_to_the_most_of_the_effort(epochs, views):
    assert effort("balanced", **{"train.epochs": epochs}).train.views == views


@pytest.mark.parametrize(("freeze", "kept"), [("backbone", False), (3, True)])
def test_cutmix_takes_views_of_stages_that_give_something_to_cut(freeze, kept):
    used = effort("balanced", **{"model.freeze": freeze, "augment.cutmix": 1.0})
    assert bool(used.train.views) is kept


def test_effort_stretches_what_learns_from_nothing():
    quick, balanced, best = (effort(name, CIFAR).train.epochs for name in EFFORTS)
    assert 0 < quick < balanced < best


def test_what_the_user_sets_stays_whatever_the_effort():
    used = effort("quick", **{"train.epochs": 2, "data.size_px": 160})
    assert (used.train.epochs, used.data.size_px) == (2, 160)


def test_without_effort_the_balanced_one_is_meant():
    assert plan(Recipe(), PHOTOS, QUICK)[0] == effort("balanced")


@pytest.mark.parametrize(
    ("folds", "words"), [(None, "30 s, of which 2 s are left"), (5, "150 s for 5 folds, of which 10 s")]
)
def test_a_budget_that_is_too_short_is_told_with_one_that_is_enough(monkeypatch, folds, words):
    monkeypatch.setattr("linnaeus.verbs.plan._seconds_of_looking", lambda used, facts: 1.0)
    asked = load_recipe(
        None, {"budget_s": 30, "train.start": "head", "data.size_px": 64} | ({"split.folds": folds} if folds else {})
    )
    used, _ = plan(asked, PHOTOS, QUICK)
    with pytest.raises(SettingsError, match=words) as told:
        afford(used, asked, PHOTOS, 2.0)
    (advised,) = re.findall(r"--budget (\d+)s", str(told.value))
    again = asked.model_copy(update={"budget_s": int(advised) / (folds or 1)})
    used, _ = plan(again, PHOTOS, QUICK)
    afford(used, again, PHOTOS, again.budget_s - 28.0)
