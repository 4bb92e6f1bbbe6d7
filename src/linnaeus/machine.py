"""What this machine has, without asking PyTorch."""

from __future__ import annotations

import math
import os
from pathlib import Path

CONTROL_GROUPS = Path("/sys/fs/cgroup")
CPU_INFO = Path("/proc/cpuinfo")
FILES_AT_MOST = 10_240
"""Files that a process may have open on macOS where its limit says "unlimited"."""


def cores_here() -> int:
    """Count the processor cores that this process may use: those that it is bound to, or its container's share of them."""
    bound_to = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(bound_to, _share_of_container())))


def _share_of_container() -> float:
    """Read how many cores' time the container may take (`docker run --cpus`, a limit of Kubernetes); inf without a limit."""
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            quota, period = " ".join((CONTROL_GROUPS / name).read_text(encoding="ascii") for name in names).split()
            return int(quota) / int(period) if int(quota) > 0 else math.inf
        except (OSError, ValueError, ZeroDivisionError):
            # Not there, or the quota is "max".
            continue
    return math.inf


def allow_more_files() -> bool:
    """Let this process have as many files open as the system permits; False where it may already."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return False
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_AT_MOST if most == resource.RLIM_INFINITY else most
    if wanted <= now:
        return False
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
    return True


def processor_name() -> str:
    """Name the processor as its maker does, with family and model where the system tells them.

    Clouds call all generations by one name ("AMD EPYC"), though one may compute twice as fast in bfloat16 as another.
    """
    try:
        return _name_in(CPU_INFO.read_text(encoding="utf-8"))
    except (OSError, KeyError):
        import platform

        return platform.processor() or platform.machine()


def _name_in(information: str) -> str:
    """Read the name of the first processor out of Linux's description of all.

    Raises:
        KeyError: It holds no name.
    """
    told: dict[str, str] = {}
    for line in information.splitlines():
        what, _, value = line.partition(":")
        told.setdefault(what.strip(), value.strip())
    kind = ", ".join(
        f"{word} {told[what]}" for word, what in (("family", "cpu family"), ("model", "model")) if what in told
    )
    return f"{told['model name']} ({kind})" if kind else told["model name"]


def memory_gb() -> float:
    """Tell the main memory in GB (1e9 bytes); 0 where the system does not say."""
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (ValueError, OSError, AttributeError):
        return 0.0
