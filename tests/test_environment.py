import base64
import hashlib
import json
import shutil
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest

from linnaeus.data.folders import default_cache_dir
from linnaeus.errors import ModelError
from linnaeus.targets.environment import node, node_environment, python_environment, said_to

pytestmark = pytest.mark.usefixtures("_own_cache")


@pytest.fixture
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LINNAEUS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("PIP_NO_INDEX", "1")


@pytest.fixture
def wheel(tmp_path):
    """A package of one module, which asks for another that exists nowhere."""
    path = tmp_path / "tiny_package-1.0-py3-none-any.whl"
    files = {
        "tiny_package.py": "answer = 42\n",
        "tiny_package-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: tiny-package\nVersion: 1.0\nRequires-Dist: is-nowhere\n",
        "tiny_package-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    digests = {
        name: base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=")
        for name, text in files.items()
    }
    lines = [f"{name},sha256={digests[name].decode()},{len(text)}" for name, text in files.items()]
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
        archive.writestr(
            "tiny_package-1.0.dist-info/RECORD", "\n".join([*lines, "tiny_package-1.0.dist-info/RECORD,,"]) + "\n"
        )
    return path


@pytest.fixture
def package(tmp_path):
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "package.json").write_text(json.dumps({"name": "tiny", "version": "1.0.0", "main": "index.js"}))
    (folder / "index.js").write_text("module.exports = 42;\n")
    return folder


def answer(python, code):
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def folders():
    return sorted(path.name for path in (default_cache_dir() / "environments").iterdir())


def test_a_python_environment_holds_what_was_asked_for_and_nothing_of_this_one(wheel):
    python = python_environment("tiny", [], [str(wheel)])
    assert answer(python, "import tiny_package; print(tiny_package.answer)") == "42"
    assert answer(python, "import importlib.util as u; print(u.find_spec('numpy'))") == "None"
    assert answer(python, "import sys; print(sys.version_info[:2])") == str(sys.version_info[:2])


def test_an_environment_is_made_once_and_said_once(wheel):
    said = []
    first, again = (
        python_environment("tiny", [], [str(wheel)], title="Tiny", size_mb=3, say=said.append) for _ in range(2)
    )
    assert first == again
    assert said == ["making an environment for Tiny; once, about 3 MB"]


def test_what_is_said_goes_to_whoever_listens(wheel):
    said = []
    with said_to(said.append):
        python_environment("tiny", [], [str(wheel)])
    assert said == ["making an environment for tiny; once"]


def test_other_packages_make_another_environment(wheel):
    assert python_environment("tiny", [], [str(wheel)]) != python_environment("tiny", [])


def test_an_environment_whose_python_was_removed_is_made_anew(wheel):
    python = python_environment("tiny", [], [str(wheel)])
    python.unlink()
    assert answer(python_environment("tiny", [], [str(wheel)]), "import tiny_package") == ""


def test_two_that_make_an_environment_at_once_both_get_it(wheel):
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: python_environment("tiny", [], [str(wheel)]), range(2)))
    assert both[0] == both[1]
    assert answer(both[0], "import tiny_package") == ""
    assert len(folders()) == 1


def test_without_uv_pip_makes_the_environment(wheel, monkeypatch):
    monkeypatch.setattr("linnaeus.targets.environment._uv", list)
    assert (
        answer(python_environment("tiny", [], [str(wheel)]), "import tiny_package; print(tiny_package.answer)") == "42"
    )


def test_with_neither_uv_nor_pip_the_message_says_what_to_do(monkeypatch):
    monkeypatch.setattr("linnaeus.targets.environment._uv", list)
    monkeypatch.setitem(sys.modules, "pip", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(ModelError, match="needs uv or pip") as caught:
        python_environment("tiny", [])
    assert caught.value.fix == "pip install uv"


def test_a_package_that_cannot_be_had_is_named_and_nothing_is_left(wheel):
    with pytest.raises(ModelError, match="environment for tiny could not be made") as caught:
        python_environment("tiny", [str(wheel)])
    assert "is-nowhere" in caught.value.got
    assert "network" in caught.value.fix
    assert folders() == []


@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")
def test_a_node_environment_holds_its_packages_and_no_lock_file(package):
    folder = node_environment("tiny", {"tiny": f"file:{package}"})
    code = "console.log(require('tiny'))"
    found = subprocess.run([node("tiny"), "-e", code], cwd=folder, capture_output=True, text=True, check=True).stdout
    assert found.strip() == "42"
    assert not (folder / "package-lock.json").exists()
    assert node_environment("tiny", {"tiny": f"file:{package}"}) == folder


@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")
def test_a_package_for_node_that_is_not_there_is_told_with_npms_words(tmp_path):
    with pytest.raises(ModelError, match="could not be made") as caught:
        node_environment("tiny", {"tiny": f"file:{tmp_path / 'nowhere.tgz'}"})
    assert "nowhere.tgz" in caught.value.got
    assert folders() == []


def test_without_node_the_message_says_what_is_missing(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ModelError, match=r"TensorFlow\.js needs node") as caught:
        node_environment("tfjs", {}, title="TensorFlow.js")
    assert "Node.js" in caught.value.fix
