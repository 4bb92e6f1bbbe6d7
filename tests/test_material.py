import numpy as np

from linnaeus.learn.material import EVALUATE_AT_ONCE, Material
from linnaeus.records import Preprocessing, Split


class Pixels:
    def block(self, rows, size_px):
        return np.repeat(np.asarray(rows, dtype=np.uint8), size_px * size_px * 3).reshape(-1, size_px, size_px, 3)


def material(parts):
    N = len(parts)
    split = Split(np.array(parts), np.array(["given"] * N))
    return Material(Pixels(), np.arange(N) % 3, ("",) * N, split, ("a", "b", "c"), Preprocessing(4, "squash"))


def test_blocks_bring_every_row_once_and_in_order():
    rows = np.arange(2 * EVALUATE_AT_ONCE + 3) % 250
    blocks = list(material(["train"]).blocks(rows))
    assert [len(block) for block in blocks] == [EVALUATE_AT_ONCE, EVALUATE_AT_ONCE, 3]
    assert (np.concatenate(blocks)[:, 0, 0, 0] == rows).all()


def test_only_training_pictures_are_counted_and_empty_classes_are_zero():
    assert material(["train", "val", "train", "train", "test"]).counts().tolist() == [2, 0, 1]
