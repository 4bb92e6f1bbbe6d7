"""The documentation: what it shows is run, what it lists exists, and both READMEs show the same."""

import contextlib
import io
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from linnaeus.cli import app
from linnaeus.config import load_recipe, recipe_names, setting_names

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
VERBS = (
    "train",
    "export",
    "compress",
    "benchmark",
    "audit",
    "review",
    "plan",
    "predict",
    "evaluate",
    "compare",
    "explain",
    "stress",
    "report",
    "models",
    "doctor",
)
BLOCK_S = 600
"""Only a block that hangs takes so long."""

# One worker runs all of them: they share a folder, in which the README's commands have trained a classifier.
pytestmark = pytest.mark.xdist_group("docs")


def blocks(page, *languages):
    """List the code blocks of a page as (language, code), of all languages unless some are named."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [(language, code) for language, code in found if not languages or language in languages]


def to_run(page):
    """List the blocks that a page adds to the commands of the README, which are run first."""
    return blocks(page, "python") if page == PAGES[0] else blocks(page, "python", "bash")


def run_block(language, code, folder):
    """Run a block as a reader would, in `folder`; return what it printed."""
    if language == "bash":
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", code],
            cwd=folder, env=os.environ | {"PATH": path}, capture_output=True, text=True, timeout=BLOCK_S,
        )  # fmt: skip
        assert done.returncode == 0, f"{code}\n{done.stdout[-500:]}\n{done.stderr[-2000:]}"
        return done.stdout
    with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()) as told:
        exec(compile(code, "<documentation>", "exec"), {"__name__": "__main__"})
    return told.getvalue()


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """The folder in which the README's commands were run."""
    folder = tmp_path_factory.mktemp("docs")
    shutil.copytree(ROOT / "examples", folder / "examples")
    for language, code in blocks(PAGES[0], "bash"):
        (folder / "told.txt").write_text(run_block(language, code, folder))
    return folder


def test_the_commands_of_the_readme_work(workplace):
    told = (workplace / "told.txt").read_text()
    assert "accuracy" in told
    assert "no problems found" in told
    assert (workplace / "runs/digits/report.html").is_file()
    assert (workplace / "runs/answers.csv").read_text().count("\n") == 21


@pytest.mark.parametrize("page", [page for page in PAGES if to_run(page)], ids=lambda page: page.stem)
def test_the_examples_of_each_page_work(page, workplace):
    for language, code in to_run(page):
        told = run_block(language, code, workplace)
        assert told or language == "bash", "a Python example should show something"


def test_the_example_of_the_python_interface_works(workplace):
    code = (workplace / "examples/python_api.py").read_text(encoding="utf-8")
    assert "['0' '1' '2']" in run_block("python", code, workplace)


def test_a_block_that_fails_fails_its_test(tmp_path):
    with pytest.raises(AssertionError, match="linnaeus tarin"):
        run_block("bash", "linnaeus tarin digits", tmp_path)


def test_both_readmes_have_the_same_code():
    assert blocks(ROOT / "README.md") == blocks(ROOT / "README.zh-CN.md")


def test_both_readmes_have_the_same_parts():
    def shape(name):
        lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
        return [re.match(r"#+|\* |<!--.*|!", line)[0] for line in lines if re.match(r"#+ |\* |<!--|!", line)]

    assert shape("README.md") == shape("README.zh-CN.md")


def test_both_readmes_show_what_was_measured_last(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import readme

    for name in ("README.md", "README.zh-CN.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        for mark, table in readme.TABLES.items():
            assert f"<!-- {mark} -->\n{table()}\n<!-- /{mark} -->" in text


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.zh-CN.md"], ids=lambda page: page.stem)
def test_every_link_of_a_page_leads_to_a_file(page):
    targets = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_every_command_has_a_page_and_stands_in_the_index():
    commands = {name for name in app if not name.startswith("-")}
    assert commands == set(VERBS)
    index = (ROOT / "docs/index.md").read_text(encoding="utf-8")
    for name in VERBS:
        assert (ROOT / f"docs/{name}.md").read_text(encoding="utf-8").startswith(f"# {name}\n")
        assert f"[{name}]({name}.md)" in index


def test_every_page_stands_in_the_index():
    index = (ROOT / "docs/index.md").read_text(encoding="utf-8")
    assert [page.name for page in PAGES[1:] if page.stem != "index" and f"({page.name})" not in index] == []


def test_the_lessons_page_names_every_recipe():
    page = (ROOT / "docs/lessons.md").read_text(encoding="utf-8")
    assert [name for name in recipe_names() if f"`{name}`" not in page] == []


def test_the_settings_page_is_up_to_date():
    written = runpy.run_path(str(ROOT / "docs/write_settings.py"))["page"]()
    assert written == (ROOT / "docs/settings.md").read_text(encoding="utf-8"), "run: python docs/write_settings.py"


def test_every_setting_that_the_pages_name_exists():
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    named = set(re.findall(r"`((?:data|split|model|augment|optim|train)\.[a-z]\w+)`", text))
    files = {"model.safetensors", "split.csv"}
    assert named - files - set(setting_names()) == set()


def test_every_value_that_the_pages_set_holds():
    lines = [line for page in PAGES for line in page.read_text(encoding="utf-8").splitlines()]
    given = [found for line in lines if (found := re.findall(r"--set ([a-z][\w.]+)=([^\s`]+)", line))]
    assert len(given) > 5
    for together in given:
        load_recipe(None, dict(together))


def test_the_recipe_that_the_train_page_shows_holds(tmp_path):
    ((_, code),) = blocks(ROOT / "docs/train.md", "toml")
    (tmp_path / "mine.toml").write_text(code)
    assert load_recipe(str(tmp_path / "mine.toml")).train.epochs == 12


def test_nothing_in_the_documentation_names_a_machine():
    text = "".join(page.read_text(encoding="utf-8") for page in (*PAGES, ROOT / "README.zh-CN.md", ROOT / "Makefile"))
    assert re.findall(r"(?<![\w.~])/(?:home|root|work|tmp|Users)/\S*", text) == []
