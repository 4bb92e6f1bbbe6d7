"""What is asked of the C library is what it does; elsewhere than with glibc nothing is asked."""

import ctypes
import platform
import subprocess
import sys

import pytest

ARENAS = """
import ctypes, sys, threading
from linnaeus import malloc
if sys.argv[1] == "shared":
    malloc.share_freed_memory()
library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
everyone = threading.Barrier(3)
def take():
    library.malloc(100_000)
    everyone.wait()
threads = [threading.Thread(target=take) for _ in range(2)]
for one in threads:
    one.start()
everyone.wait()
library.fopen.restype = ctypes.c_void_p
library.malloc_info(0, ctypes.c_void_p(library.fopen(b"/dev/stdout", b"w")))
library.fflush(None)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has arenas")
@pytest.mark.parametrize(("how", "alone"), [("shared", True), ("as usual", False)])
def test_threads_take_memory_from_one_arena_once_that_is_asked_for(how, alone):
    told = subprocess.run([sys.executable, "-c", ARENAS, how], capture_output=True, text=True, check=True).stdout
    assert (told.count("<heap nr=") == 1) is alone


def test_where_there_is_no_such_library_nothing_happens(monkeypatch):
    from linnaeus import malloc

    def missing(name):
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", missing)
    malloc._set.cache_clear()
    malloc.share_freed_memory()
    malloc.keep_freed_memory()
    malloc._set.cache_clear()


def test_an_older_library_gets_the_largest_threshold_that_it_takes(monkeypatch):
    from linnaeus import malloc

    accepted = {}

    class Older:
        """glibc before 2.35: no threshold above half of its heaps of 64 MB."""

        def mallopt(self, setting, value):
            takes = setting != malloc.MMAP_THRESHOLD or value <= 2**25
            if takes:
                accepted[setting] = value
            return int(takes)

    monkeypatch.setattr(ctypes, "CDLL", lambda name: Older())
    malloc._set.cache_clear()
    malloc.keep_freed_memory()
    malloc._set.cache_clear()
    assert accepted == {malloc.MMAP_THRESHOLD: 2**25, malloc.TRIM_THRESHOLD: 2**31 - 1}
