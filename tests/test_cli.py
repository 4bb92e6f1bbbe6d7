import errno
import importlib.util
import json
import os
import shutil
import subprocess
import sys

import pytest

from linnaeus import __version__, cli, story
from linnaeus.cli.app import seconds_of
from linnaeus.config import recipe_names

COMMANDS = [
    "train",
    "export",
    "compress",
    "benchmark",
    "evaluate",
    "predict",
    "audit",
    "compare",
    "explain",
    "plan",
    "report",
    "review",
    "stress",
    "models list",
    "models show",
    "doctor",
]


HELP = "from linnaeus.cli import app\ntry:\n    app('--help')\nexcept SystemExit:\n    pass"


def without_torch(code):
    """Run code in a fresh interpreter; it ends by printing whether torch was imported."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\nprint('torch' in sys.modules)"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1] == "False"


def test_help_waits_for_no_library_of_numbers_or_tables():
    code = f"{HELP}\nimport sys\nprint({{'numpy', 'scipy', 'pyarrow', 'PIL', 'cv2'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "set()"


@pytest.mark.parametrize(
    "code",
    [
        "import linnaeus",
        "import linnaeus.cli",
        "import linnaeus.config, linnaeus.records, linnaeus.metrics, linnaeus.run",
        "import linnaeus.data.sources, linnaeus.data.catalog, linnaeus.data.decode, linnaeus.data.cache",
        HELP,
        "from linnaeus.cli import app\ntry:\n    app('train --help')\nexcept SystemExit:\n    pass",
    ],
)
def test_torch_is_not_imported_for(code):
    assert without_torch(code)


def test_the_module_is_the_command():
    done = subprocess.run([sys.executable, "-m", "linnaeus", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, __version__)


@pytest.mark.parametrize(
    ("last", "code"), [("pass", 0), ("sys.exit()", 0), ("sys.exit(3)", 3), ("sys.exit('no')", 1), ("1 / 0", 1)]
)
def test_leaving_at_once_loses_no_word_and_no_exit_code(last, code):
    """What is printed into a pipe waits in a buffer, and temporary folders are removed by what is registered for the end."""
    program = f"""
import atexit, sys
from linnaeus import cli

def main():
    atexit.register(print, "registered")
    print("printed")
    {last}

cli.main = main
cli.run()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()) == (code, ["printed", "registered"])
    assert {"sys.exit('no')": "no", "1 / 0": "ZeroDivisionError"}.get(last, "") in done.stderr


# PyTorch's CUDA build brings Triton; a build without it has nothing that could be listed.
@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="without Triton there is nothing to be said")
def test_a_training_leaves_without_a_word_of_the_libraries(photos, tmp_path):
    """An optimizer imports Triton, whose binding lists at exit whatever it finds not freed."""
    given = ["--recipe", "cifar10-75", "--out", str(tmp_path / "run")]
    done = subprocess.run(
        [sys.executable, "-m", "linnaeus", "train", str(photos), *given], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "leaked" not in done.stderr


def test_every_command_is_tested_here(command):
    known = {name for name in cli.app if not name.startswith("-")} - {"models"}
    known |= {f"models {name}" for name in cli.models.models if not name.startswith("-")}
    assert known == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_ends_its_text_with_an_example(command, name):
    code, printed, _ = command(*name.split(), "--help")
    assert code == 0
    text = printed.split("╭")[0]
    assert text.strip().splitlines()[-1].startswith(f"Example: linnaeus {name}")


def test_the_help_of_all_names_each_command(command):
    code, printed, _ = command("--help")
    assert code == 0
    assert all(name.split()[0] in printed for name in COMMANDS)


@pytest.mark.parametrize(
    "words",
    [
        ["nonsense"],
        ["train", "digits", "--nonsense"],
        ["train", "digits", "--epochs", "many"],
        ["train"],
        ["train", "no-such-folder"],
        ["train", "digits", "--set", "optim.lr"],
        ["train", "digits", "--set", "optim.learning_rate=1"],
        ["train", "digits", "--budget", "soon"],
        ["train", "digits", "--recipe", "no-such-recipe"],
        ["train", "--resume", "no-such-run"],
        ["train", "digits", "--resume", "no-such-run"],
        ["train", "digits", "--model", "no-such-network"],
        ["evaluate", "no-such-run", "digits"],
        ["evaluate", "no-such-run"],
        ["predict", "no-such-run", "x.jpg"],
        ["predict", "no-such-run", "x.jpg", "--nonsense"],
        ["report", "no-such-run"],
        ["audit", "no-such-folder"],
        ["train", "digits", "--folds", "0"],
        ["train", "digits", "--set", "data.background=[300,0,0]"],
        ["plan", "no-such-folder"],
        ["models", "show", "no-such-network"],
        ["models", "list", "no-such-network"],
    ],
    ids=" ".join,
)
def test_the_users_mistakes_end_with_code_2_and_words_on_stderr(command, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    code, printed, said = command(*words)
    assert code == 2
    assert printed == ""
    assert said
    assert "Traceback" not in said


def test_an_error_of_ours_begins_with_error_and_proposes_a_fix(command):
    _, _, said = command("models", "show", "keras-cifar1")
    lines = said.splitlines()
    assert lines[0].startswith("error: network")
    assert lines[-1].startswith("  fix: did you mean keras-cifar10")


def test_a_mistake_of_ours_is_not_hidden(command, monkeypatch):
    def broken(*args, **options):
        raise ZeroDivisionError

    monkeypatch.setattr(story, "inspect", broken)
    with pytest.raises(ZeroDivisionError):
        command("audit", "digits")


@pytest.mark.parametrize(
    ("out", "why"),
    [("file/answers.csv", "File exists"), (f"{'x' * 250}.csv", "too long"), (f"{'x' * 250}.jsonl", "too long")],
    ids=["file", "csv", "jsonl"],
)
def test_what_the_system_refuses_is_told_in_words(command, trained, photos, tmp_path, out, why):
    (tmp_path / "file").touch()
    code, printed, said = command("predict", trained.folder, photos / "red", "--out", tmp_path / out)
    rule, got, fix = said.splitlines()
    assert (code, printed) == (2, "")
    assert rule.endswith(" cannot be read or written.")
    assert str(tmp_path) in rule + got
    assert why in got
    assert fix.startswith("  fix: check permissions")


def test_a_full_disk_is_told_in_words_and_leaves_nothing(command, trained, photos, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("linnaeus.tables._JsonLines.write", full)
    code, _, said = command("predict", trained.folder, photos / "red", "--out", tmp_path / "answers.jsonl")
    assert code == 2
    assert "error: a file cannot be read or written.\n  got: No space left on device\n" in said
    assert list(tmp_path.iterdir()) == []


def test_an_error_that_is_not_the_systems_is_not_hidden(command, monkeypatch):
    def broken(*args, **options):
        raise OSError("libodd.so: wrong version")

    monkeypatch.setattr(story, "inspect", broken)
    with pytest.raises(OSError, match="libodd"):
        command("audit", "digits")


def test_a_source_may_have_the_longest_name_that_a_folder_can_have(command, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = shutil.copytree(photos, tmp_path / ("ä" * 127))
    code, printed, said = command("train", source, *QUICK, "--json")
    assert code == 0, said
    assert json.loads(printed)["run"].startswith(f"runs/{'ä' * 50}-")


def test_a_failed_check_ends_with_code_3(command, tmp_path, photos):
    folder = shutil.copytree(photos, tmp_path / "photos")
    (folder / "red" / "bad.jpg").write_text("no picture")
    code, printed, said = command("train", folder, "--strict", "--out", tmp_path / "run")
    assert (code, printed) == (3, "")
    assert "1 not a picture" in said


def test_ctrl_c_ends_with_code_130(command, monkeypatch):
    def stopped(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(story, "inspect", stopped)
    code, printed, said = command("audit", "digits")
    assert (code, printed, said) == (130, "", "stopped.\n")


def test_an_endless_rate_ends_with_code_2(command, tmp_path, photos):
    words = ("--model", "keras-cifar10", "--epochs", "5", "--set", "optim.name=sgd", "--set", "optim.lr=1e25")
    code, printed, said = command("train", photos, *words, "--out", tmp_path / "run")
    assert (code, printed) == (2, "")
    assert "the loss should stay finite" in said
    assert "optim.lr" in said


QUICK = ("--epochs", "1", "--set", "data.size_px=16", "--seed", "3")


def test_train_prints_what_was_learned_how_good_it_is_and_the_next_command(command, tmp_path, photos):
    code, printed, said = command("train", photos, *QUICK, "--out", tmp_path / "run")
    assert code == 0
    assert "accuracy" in printed
    assert "%" in printed
    assert f"linnaeus predict {tmp_path / 'run'}" in printed
    assert "72 pictures in 3 classes" in said
    assert "model.name = small-32" in said


def test_train_with_json_prints_one_document_and_nothing_else(command, tmp_path, photos):
    code, printed, _ = command("train", photos, *QUICK, "--out", tmp_path / "run", "--json")
    document = json.loads(printed)
    assert code == 0
    assert set(document) == {"run", "report", "accounted", "scores", "summary"}
    assert json.loads((tmp_path / "run" / "recipe.json").read_text())["recipe"]["seed"] == 3


@pytest.mark.parametrize(
    "words",
    [
        ["doctor"],
        ["models", "list", "keras"],
        ["models", "show", "keras-cifar10"],
        ["audit", "PHOTOS"],
        ["plan", "PHOTOS"],
        ["plan", "PHOTOS", "--model", "keras-cifar10"],
        ["evaluate", "RUN", "PHOTOS"],
        ["predict", "RUN", "PHOTOS"],
        ["report", "RUN"],
    ],
    ids=" ".join,
)
def test_json_is_one_valid_document_and_stdout_has_nothing_else(command, photos, trained, tmp_path, words):
    run = shutil.copytree(trained.folder, tmp_path / "run") if "report" in words else trained.folder
    names = {"PHOTOS": photos, "RUN": run}
    code, printed, said = command(*(names.get(word, word) for word in words), "--json")
    assert code == 0, said
    assert len(printed.strip().splitlines()) == 1
    json.loads(printed)


@pytest.mark.parametrize(
    "words", [["doctor"], ["models", "list", "keras"], ["models", "show", "torch-simplecnn"]], ids=" ".join
)
def test_the_small_commands_print_for_people(command, words):
    code, printed, _ = command(*words)
    assert code == 0
    assert len(printed.splitlines()) >= 3


def test_plan_prints_each_decision_with_its_reason_and_trains_nothing(command, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, printed, _ = command("plan", photos)
    assert code == 0
    assert all(" = " in line and ": " in line for line in printed.splitlines())
    assert list(tmp_path.iterdir()) == []


def test_audit_prints_the_account_and_the_class_sizes(command, photos):
    code, printed, _ = command("audit", photos)
    assert code == 0
    assert printed.splitlines()[0] == "found: 72  used: 72"
    assert sum(line.split()[0] == "24" for line in printed.splitlines()) == 3


def test_a_setting_on_the_command_line_goes_before_the_recipe(command, photos):
    _, printed, _ = command("plan", photos, "--recipe", "torch-simplecnn", "--set", "optim.lr=0.5", "--json")
    used = json.loads(printed)["used"]
    assert (used["optim"]["lr"], used["optim"]["gamma"]) == (0.5, 0.1)


@pytest.mark.parametrize("name", [name for name in recipe_names() if "keras" in name or "torch" in name])
def test_a_lessons_network_brings_its_recipe(command, photos, name):
    _, printed, _ = command("plan", photos, "--model", name, "--json")
    used = json.loads(printed)["used"]
    assert used["train"]["keep"] == "last"
    assert used["model"]["weights"] == "none"


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("10m", 600), ("2h", 7200), ("45", 45), ("1.5 m", 90)])
def test_budgets_are_read(text, seconds):
    assert seconds_of(text) == seconds


def test_resume_takes_no_other_options(command, trained):
    code, _, said = command("train", "--resume", trained.folder, "--epochs", "3")
    assert code == 2
    assert "--resume takes everything from the run" in said


@pytest.mark.parametrize("words", [["models", "list"], ["models", "list", "lite0"]], ids=["much", "little"])
def test_a_closed_pipe_is_no_mistake(words):
    """Of much the reader has read a line, of little it reads nothing: that is written at the very end."""
    code = f"from linnaeus.cli import main; import os, sys; sys.argv = ['linnaeus', *{words}]; os.read(0, 1); main()"
    usual = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    writer = subprocess.Popen([sys.executable, "-c", code], env=usual, **pipes)
    if "lite0" in words:
        writer.stdout.close()
    writer.stdin.write(b"go\n")
    writer.stdin.close()
    if not writer.stdout.closed:
        writer.stdout.readline()
        writer.stdout.close()
    said = writer.stderr.read().decode()
    writer.stderr.close()
    assert writer.wait(60) == 0, said
    assert "Broken" not in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["benchmark", "model.onnx", "--source", "photos"], "--source"),
        (["explain", "RUN", "x.jpg", "--most", "3"], "--most"),
    ],
    ids=str,
)
def test_options_that_would_do_nothing_are_refused(command, trained, tmp_path, words, named):
    (tmp_path / "model.onnx").touch()
    places = {"RUN": trained.folder, "model.onnx": tmp_path / "model.onnx"}
    code, _, said = command(*(places.get(word, word) for word in words))
    assert code == 2
    assert named in said.splitlines()[0]
