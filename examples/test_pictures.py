"""Write some test pictures of a run as PNG files, a folder for each class: pictures that the model never saw.

python examples/test_pictures.py RUN FOLDER [COUNT]
"""

import sys
from collections import defaultdict
from itertools import chain, zip_longest
from pathlib import Path

from PIL import Image

from linnaeus import Run
from linnaeus.data.decode import decode, read_bytes


def main(run: str, folder: str, count: str = "20") -> None:
    """Take COUNT test pictures, one of each class in turn."""
    split = Run.open(run).split()
    rows_of = defaultdict(list)
    for row, (label, part) in enumerate(zip(split["label"], split["split"], strict=True)):
        if part == "test":
            rows_of[label].append(row)
    in_turn = chain.from_iterable(zip_longest(*(rows_of[label] for label in sorted(rows_of))))
    rows = [row for row in in_turn if row is not None][: int(count)]
    for row in rows:
        place = split["place"][row]
        target = Path(folder) / split["label"][row] / f"{row}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(decode(read_bytes(place), place.layout)).save(target)
    print(f"{len(rows)} pictures in {folder}")


if __name__ == "__main__":
    main(*sys.argv[1:])
