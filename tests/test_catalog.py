import re

import pytest

from linnaeus.data.catalog import CATALOG


@pytest.mark.parametrize("entry", CATALOG.values(), ids=list(CATALOG))
def test_every_entry_says_whose_it_is_and_what_it_holds(entry):
    assert CATALOG[entry.name] is entry
    assert entry.licence
    assert entry.citation
    assert entry.homepage.startswith("https://")
    assert len(set(entry.classes)) == len(entry.classes) >= 2


@pytest.mark.parametrize("entry", CATALOG.values(), ids=list(CATALOG))
def test_every_file_has_an_address_a_checksum_and_a_size(entry):
    for file in entry.files:
        assert file.url.startswith("https://")
        assert file.url.endswith("/" + file.name)
        assert re.fullmatch(r"sha256:[0-9a-f]{64}", file.digest)
    assert bool(entry.files) == (entry.layout != "digits")
    assert entry.size == sum(file.size for file in entry.files)


def test_the_numbers_of_classes_are_the_known_ones():
    assert {name: len(entry.classes) for name, entry in CATALOG.items()} == {
        "digits": 10,
        "cifar10": 10,
        "cifar100": 100,
        "flowers": 5,
        "imagenette": 10,
        "pets": 37,
    }
