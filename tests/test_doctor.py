import json

import pytest

from linnaeus.verbs import doctor as module
from linnaeus.verbs.doctor import doctor


def test_a_sound_environment_has_no_problem():
    found = doctor()
    assert set(found) == {"system", "python", "machine", "measured", "packages", "decoders", "cache", "problems"}
    assert found["machine"]["cores"] >= 1
    assert not [one for one in found["problems"] if "installed" in one or "Pillow" in one]
    json.dumps(found)


def test_the_cache_folder_need_not_exist(monkeypatch, tmp_path):
    monkeypatch.setenv("LINNAEUS_CACHE", str(tmp_path / "not" / "yet"))
    assert doctor()["cache"] | {"free_gb": 0} == {"folder": str(tmp_path / "not" / "yet"), "held_gb": 0, "free_gb": 0}
    assert not (tmp_path / "not").exists()


def test_the_cache_folder_may_be_relative(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LINNAEUS_CACHE", "not-yet")
    assert doctor()["cache"]["free_gb"] > 0


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(module, "PACKAGES", ("torch", "no-such-package"))
    found = doctor()
    assert found["packages"]["no-such-package"] is None
    assert "no-such-package is not installed" in found["problems"]


@pytest.mark.parametrize("decoder", ["webp", "avif"])
def test_a_missing_decoder_is_named(monkeypatch, decoder):
    from PIL import features

    check = features.check
    monkeypatch.setattr(features, "check", lambda name: name != decoder and check(name))
    assert f"Pillow was built without {decoder}" in doctor()["problems"]


def test_a_full_disk_is_named(monkeypatch):
    monkeypatch.setattr(module, "_free_gb", lambda folder: 0.5)
    assert any("0.5 GB free" in one for one in doctor()["problems"])
