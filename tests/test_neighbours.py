import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linnaeus.learn import neighbours as module
from linnaeus.learn.neighbours import Index, main_directions, similar_hashes, unit_vectors

D = 24


def unit(n, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(n, D)) / (1 + np.arange(D))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def near(vectors, noise=0.1, seed=1):
    moved = vectors + noise * unit(len(vectors), seed)
    return moved / np.linalg.norm(moved, axis=1, keepdims=True)


@pytest.mark.parametrize("n", [1, 2, 5, 300, 3000])
def test_small_sets_are_searched_exactly(n):
    from sklearn.neighbors import NearestNeighbors

    vectors, queries, count = unit(n), unit(50, seed=3), min(4, n)
    found = Index(vectors).search(queries, count=count)
    distances, rows = NearestNeighbors(n_neighbors=count, metric="cosine").fit(vectors).kneighbors(queries)
    assert (found.rows == rows).mean() > 0.99
    assert found.similarities == pytest.approx(1 - distances, abs=1e-5)


def test_a_large_set_is_searched_in_cells_and_finds_what_is_near(monkeypatch):
    monkeypatch.setattr(module, "EXACT_UP_TO", 1000)
    vectors = unit(20_000)
    index = Index(vectors)
    found = index.search(near(vectors[:2000]), count=1).rows[:, 0]
    assert (found == np.arange(2000)).mean() > 0.98


def test_a_query_finds_the_same_however_many_are_asked_at_once(monkeypatch):
    monkeypatch.setattr(module, "EXACT_UP_TO", 1000)
    vectors = unit(8000)
    index, queries = Index(vectors), near(vectors[:300])
    together = index.search(queries, count=3)
    for size in (1, 7):
        monkeypatch.setattr(Index, "at_once", lambda self, probes=None, size=size: size)
        apart = index.search(queries, count=3)
        assert np.array_equal(apart.rows, together.rows)
        assert apart.similarities == pytest.approx(together.similarities, abs=1e-6)


@pytest.mark.parametrize("n", [4000, 40_000])
def test_a_cell_is_visited_by_many_queries_however_many_cells_there_are(monkeypatch, n):
    monkeypatch.setattr(module, "EXACT_UP_TO", 1000)
    monkeypatch.setattr(module, "QUERIES_AT_ONCE", 64)
    index, visitors, original = Index(unit(n)), [], Index._visits

    def visits(self, queries, probes):
        for cell, asking in original(self, queries, probes):
            visitors.extend([len(asking)] * (self is index))
            yield cell, asking

    monkeypatch.setattr(Index, "_visits", visits)
    index.search(unit(3 * index.at_once(), seed=5), count=1)
    assert np.mean(visitors) > module.VISITORS / 2


def test_a_cell_that_all_look_into_is_visited_in_pieces(monkeypatch):
    monkeypatch.setattr(module, "EXACT_UP_TO", 1000)
    monkeypatch.setattr(module, "QUERIES_AT_ONCE", 64)
    monkeypatch.setattr(Index, "at_once", lambda *_: 500)
    index, most = Index(unit(4000)), []
    original = module._keep_best
    monkeypatch.setattr(module, "_keep_best", lambda found, *rest: (most.append(len(found)), original(found, *rest)))
    index.search(near(np.repeat(unit(1), 500, axis=0), noise=0.01), count=1)
    assert max(most) == 64


def test_each_query_looks_at_a_small_share_of_a_large_set(monkeypatch):
    monkeypatch.setattr(module, "EXACT_UP_TO", 1000)
    index = Index(unit(20_000))
    seen = 0
    original = module._keep_best

    def count(found, *rest):
        nonlocal seen
        seen += found.size
        original(found, *rest)

    monkeypatch.setattr(module, "_keep_best", count)
    index.search(unit(100, seed=5), count=1)
    assert seen < 100 * 20_000 / 4


def test_a_set_ten_times_as_large_is_looked_into_a_few_cells_further(monkeypatch):
    monkeypatch.setattr(module, "EXACT_UP_TO", 1000)
    visits = []
    for n in (3000, 30_000):
        index = Index(unit(n))
        visits.append(
            sum(1 for _ in index._visits(unit(1, seed=5), max(1, round(module.PROBES * np.log2(n / module.CELL)))))
        )
    assert visits[0] < visits[1] <= visits[0] + 8


def test_main_directions_keep_the_cosines_of_a_large_set():
    draw = np.random.default_rng(0)
    features = (draw.normal(size=(3000, 6)) @ draw.normal(size=(6, 60)) + 3).astype(np.float32)
    rows = np.arange(0, 3000, 2)
    assert main_directions(features, rows, most=20, exact_up_to=10_000) is None
    whole = unit_vectors(features, rows)
    cut = unit_vectors(features, rows, main_directions(features, rows, most=20, exact_up_to=500))
    assert (whole.shape, cut.shape) == ((1500, 60), (1500, 20))
    np.testing.assert_allclose(cut[:50] @ cut.T, whole[:50] @ whole.T, atol=1e-4)


def test_a_picture_is_not_its_own_neighbour():
    vectors = unit(100)
    found = Index(vectors).search(vectors, count=3, own=np.arange(100))
    assert (found.rows != np.arange(100)[:, None]).all()


def test_only_what_is_near_enough_is_found():
    vectors = np.eye(D, dtype=np.float32)
    found = Index(vectors).search(vectors, count=3, least=0.5)
    assert found.rows[:, 0].tolist() == list(range(D))
    assert (found.rows[:, 1:] == -1).all()


def test_nothing_is_found_in_nothing():
    found = Index(np.empty((0, D))).search(unit(3), count=2)
    assert (found.rows == -1).all()
    assert Index(unit(3)).search(np.empty((0, D)), count=2).rows.shape == (0, 2)


def test_the_same_vectors_give_the_same_neighbours(monkeypatch):
    monkeypatch.setattr(module, "EXACT_UP_TO", 500)
    vectors = unit(4000)
    first, second = (Index(vectors).search(vectors, count=2).rows for _ in range(2))
    assert (first == second).all()


def test_many_equal_vectors_do_not_cost_their_square(monkeypatch):
    monkeypatch.setattr(module, "EXACT_UP_TO", 500)
    vectors = np.concatenate([np.tile(unit(1), (6000, 1)), unit(600, seed=9)])
    sizes = []
    original = module._keep_best
    monkeypatch.setattr(
        module, "_keep_best", lambda found, *rest: sizes.append(found.shape[1]) or original(found, *rest)
    )
    found = Index(vectors).search(vectors, count=2, own=np.arange(len(vectors)))
    assert max(sizes) <= 16 * module.CELL
    assert found.similarities[:6000, 0].min() > 0.999


@settings(max_examples=30)
@given(st.integers(0, 2**63 - 1), st.lists(st.integers(0, 62), max_size=3, unique=True))
def test_hashes_that_differ_in_three_bits_are_always_found(value, bits):
    changed = value
    for bit in bits:
        changed ^= 1 << bit
    strangers = np.random.default_rng(0).integers(2**63, size=50, dtype=np.uint64)
    hashes = np.concatenate([strangers, np.array([value, changed], np.uint64)])
    assert [50, 51] in similar_hashes(hashes, most_bits=3).tolist()


def test_hash_pairs_are_those_of_all_pairs():
    hashes = np.random.default_rng(0).integers(2**63, size=300, dtype=np.uint64)
    hashes[200:] = hashes[:100] ^ np.uint64(5)
    differ = np.bitwise_count(hashes[:, None] ^ hashes[None, :])
    expected = np.argwhere(np.triu(differ <= 4, 1))
    assert similar_hashes(hashes, most_bits=4).tolist() == expected.tolist()


def test_pairs_between_two_lists_name_rows_of_each():
    hashes = np.random.default_rng(0).integers(2**63, size=20, dtype=np.uint64)
    pairs = similar_hashes(hashes, hashes[::-1].copy(), most_bits=0)
    assert pairs.tolist() == [[row, 19 - row] for row in range(20)]


def test_many_equal_hashes_give_few_pairs():
    pairs = similar_hashes(np.zeros(5000, np.uint64), most_bits=0)
    assert len(pairs) <= 5000 * module.REACH
    assert len(np.unique(pairs)) == 5000


def test_no_hashes_give_no_pairs():
    assert similar_hashes(np.empty(0, np.uint64), most_bits=3).shape == (0, 2)
    assert similar_hashes(np.zeros(1, np.uint64), most_bits=3).shape == (0, 2)


def test_searching_does_not_import_torch():
    code = "import sys, linnaeus.learn.neighbours; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
