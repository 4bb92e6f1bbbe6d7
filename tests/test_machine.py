import os
import platform

import pytest

from linnaeus import machine


@pytest.fixture
def container(tmp_path, monkeypatch):
    """A container on eight cores; call it with files of its control group."""
    monkeypatch.setattr(machine, "CONTROL_GROUPS", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)

    def limited(**files):
        for name, text in files.items():
            path = tmp_path / name.replace("__", "/").replace("_dot_", ".")
            path.parent.mkdir(exist_ok=True)
            path.write_text(text + "\n")

    return limited


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 8),
        ({"cpu_dot_max": "max 100000"}, 8),
        ({"cpu_dot_max": "200000 100000"}, 2),
        ({"cpu_dot_max": "150000 100000"}, 2),
        ({"cpu_dot_max": "5000 100000"}, 1),
        ({"cpu_dot_max": "6400000 100000"}, 8),
        ({"cpu__cpu_dot_cfs_quota_us": "-1", "cpu__cpu_dot_cfs_period_us": "100000"}, 8),
        ({"cpu__cpu_dot_cfs_quota_us": "300000", "cpu__cpu_dot_cfs_period_us": "100000"}, 3),
        ({"cpu_dot_max": "strange"}, 8),
    ],
)
def test_a_container_has_the_cores_whose_time_it_may_take(container, files, cores):
    container(**files)
    assert machine.cores_here() == cores


def test_a_process_may_have_as_many_files_as_the_system_permits():
    resource = pytest.importorskip("resource")
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = machine.FILES_AT_MOST if most == resource.RLIM_INFINITY else most
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted - 1, most))
    try:
        assert machine.allow_more_files()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (wanted, most)
        assert not machine.allow_more_files()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (now, most))


@pytest.mark.parametrize(
    ("lines", "name"),
    [
        (["cpu family\t: 25", "model\t\t: 17", "model name\t: AMD EPYC"], "AMD EPYC (family 25, model 17)"),
        (["model name\t: Virtual: 2 GHz", "model name\t: another"], "Virtual: 2 GHz"),
    ],
)
def test_processors_that_clouds_call_by_one_name_are_told_apart(tmp_path, monkeypatch, lines, name):
    monkeypatch.setattr(machine, "CPU_INFO", tmp_path / "cpuinfo")
    (tmp_path / "cpuinfo").write_text("\n".join(["processor\t: 0", *lines, ""]))
    assert machine.processor_name() == name


@pytest.mark.parametrize("text", ["processor\t: 0\nBogoMIPS\t: 50.00\n", None])
def test_where_the_system_gives_no_name_python_does(tmp_path, monkeypatch, text):
    monkeypatch.setattr(machine, "CPU_INFO", tmp_path / "cpuinfo")
    if text is not None:
        (tmp_path / "cpuinfo").write_text(text)
    assert machine.processor_name() == (platform.processor() or platform.machine())
