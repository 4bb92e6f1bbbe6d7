import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from linnaeus.config import SplitSettings
from linnaeus.data.alignment import _details_of
from linnaeus.data.cache import scan
from linnaeus.records import Dataset, Example, Place, Preprocessing
from linnaeus.verbs.audit import account, audit, find_copies
from linnaeus.verbs.audit import copies as module
from linnaeus.verbs.audit.candidates import _guesses, _once
from linnaeus.verbs.audit.clusters import cluster
from linnaeus.verbs.audit.pairs import Pairs, Rule, compose, invert, rule_for
from linnaeus.verbs.split import split
from test_fingerprints import scene

FLOWERS = Path(__file__).parents[2] / "shared" / "data" / "flowers"
HOW = Preprocessing(96, resize_px=110)


def png(image, **options):
    buffer = io.BytesIO()
    image.save(buffer, options.pop("format", "PNG"), **options)
    return buffer.getvalue()


def original(seed):
    return Image.fromarray(scene(seed, 160, 128))


def altered(image, kind):
    if kind == "resized":
        return png(image.resize((100, 80)))
    if kind == "compressed":
        return png(image, format="JPEG", quality=40)
    if kind == "cropped":
        return png(image.crop((20, 3, 157, 118)))
    if kind == "mirrored":
        return png(ImageOps.mirror(image))
    return png(image.point(lambda value: min(255, round(value * {"brighter": 1.2, "darker": 0.8}[kind]))))


KINDS = ("resized", "compressed", "cropped", "mirrored", "brighter", "darker")
STRANGERS = {f"{'ab'[seed % 2]}/{seed}.png": png(original(seed)) for seed in range(20, 32)}


@pytest.fixture
def look(tmp_path):
    def look(files, splits=None, how=HOW, **options):
        """Write {"class/name": bytes}, scan and look for copies."""
        examples = []
        for id, data in files.items():
            path = tmp_path / "data" / id
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            examples.append(Example(id, Place(str(path)), id.split("/")[0], (splits or {}).get(id, "")))
        names = tuple(sorted({example.label for example in examples}))
        dataset = Dataset("data", str(tmp_path / "data"), tuple(examples), names)
        found = scan(dataset, how, cache_dir=tmp_path / "cache", cache_gb=1, workers=1)
        return dataset, found, find_copies(dataset, found, how, cache_dir=tmp_path / "cache", **options)

    return look


def sets(dataset, copies):
    return {frozenset(dataset.examples[row].id for row in one.rows) for one in copies.clusters}


@pytest.mark.parametrize("kind", KINDS)
def test_an_altered_copy_stands_in_one_cluster_with_its_original(look, kind):
    dataset, _, copies = look({**STRANGERS, "a/x.png": png(original(1)), "a/y.png": altered(original(1), kind)})
    assert sets(dataset, copies) == {frozenset({"a/x.png", "a/y.png"})}
    assert copies.keys[-1] == copies.keys[-2]
    assert copies.clusters[0].mirrored == (kind == "mirrored",)


def test_strangers_have_keys_of_their_own(look):
    _, found, copies = look(STRANGERS)
    assert copies.keys == found.hashes
    assert (copies.clusters, copies.findings) == ((), ())


def test_all_copies_of_one_picture_make_one_cluster_around_the_largest(look):
    files = {f"a/{kind}.png": altered(original(1), kind) for kind in KINDS}
    dataset, _, copies = look({**files, **STRANGERS, "a/larger.png": png(original(1).resize((320, 256)))})
    (one,) = copies.clusters
    assert dataset.examples[one.representative].id == "a/larger.png"
    assert len(one.rows) == len(KINDS) + 1
    assert min(one.details) > 0.6


def test_the_key_is_the_smallest_content_hash_and_does_not_depend_on_the_order(look):
    files = {**STRANGERS, "a/x.png": png(original(1)), "a/y.png": altered(original(1), "cropped")}
    _, found, copies = look(files)
    assert copies.keys[-1] == min(found.hashes[-2:])
    _dataset, _, turned = look(dict(reversed(files.items())))
    assert turned.keys == copies.keys[::-1]
    assert turned.keys_of([1, 0]) == [copies.keys[-2], copies.keys[-1]]


def test_other_pictures_do_not_change_a_key(look):
    files = {"a/x.png": png(original(1)), "a/y.png": altered(original(1), "darker")}
    before = look(files)[2].keys
    assert look({**files, **STRANGERS})[2].keys[:2] == before


def test_the_same_pixels_in_other_bytes_are_noted(look):
    files = {**STRANGERS, "a/x.png": png(original(1)), "a/y.bmp": png(original(1), format="BMP")}
    dataset, _, copies = look(files)
    (finding,) = copies.findings
    assert (finding.kind, finding.severity) == ("same pixels", "note")
    assert finding.ids == ("a/x.png", "a/y.bmp")
    assert copies.keys[-1] == copies.keys[-2]
    assert len(dataset.without(copies.findings)) == len(dataset)


def test_the_same_pixels_under_two_labels_are_set_aside(look):
    files = {**STRANGERS, "a/x.png": png(original(1)), "b/y.bmp": png(original(1), format="BMP")}
    dataset, found, copies = look(files)
    (conflict,) = copies.findings
    assert (conflict.kind, conflict.severity) == ("conflict", "set aside")
    assert "a/x.png (a) = b/y.bmp (b)" in conflict.evidence
    assert account(dataset, audit(dataset, found, copies)) == {"found": 14, "used": 12, "conflict": 2}


def test_near_duplicates_under_two_labels_are_warned_of_and_used(look):
    dataset, found, copies = look(
        {**STRANGERS, "a/x.png": png(original(1)), "b/y.png": altered(original(1), "mirrored")}
    )
    (finding,) = copies.findings
    assert (finding.kind, finding.severity) == ("near-duplicate conflict", "warning")
    assert "a, b" in finding.evidence
    assert "mirrored" in finding.evidence
    assert account(dataset, audit(dataset, found, copies))["used"] == len(dataset)


def test_near_duplicates_of_one_label_are_a_note_that_names_sizes(look):
    _, _, copies = look({**STRANGERS, "a/x.png": png(original(1)), "a/y.png": altered(original(1), "resized")})
    (finding,) = copies.findings
    assert (finding.kind, finding.severity) == ("near-duplicates", "note")
    assert "160 x 128" in finding.evidence
    assert "100 x 80" in finding.evidence


def test_equal_bytes_alone_are_no_near_duplicates(look):
    _, found, copies = look({**STRANGERS, "a/x.png": STRANGERS["a/20.png"]})
    assert (copies.clusters, copies.findings) == ((), ())
    assert copies.keys == found.hashes


def test_equal_bytes_go_into_the_cluster_of_their_near_duplicate(look):
    files = {"a/x.png": png(original(1)), "a/copy.png": png(original(1)), "a/y.png": altered(original(1), "darker")}
    dataset, _, copies = look({**STRANGERS, **files})
    assert sets(dataset, copies) == {frozenset(files)}


def test_split_keeps_near_duplicates_on_one_side(look):
    files = {f"a/{seed}-{kind}.png": altered(original(seed), kind) for seed in range(8) for kind in KINDS[:4]}
    dataset, found, copies = look(files)
    apart = split(dataset, found.hashes, SplitSettings(val=0.3, test=0.3)).parts
    together = split(dataset, found.hashes, SplitSettings(val=0.3, test=0.3), clusters=copies.keys).parts
    assert len(set(copies.keys)) == 8
    for key in set(copies.keys):
        assert len({part for part, one in zip(together, copies.keys, strict=True) if one == key}) == 1
    assert (apart != together).any()


def test_plain_pictures_are_grouped_by_equal_pixels_only(look):
    grey = {f"a/{level}.png": png(Image.new("RGB", (120, 120), (level,) * 3)) for level in (60, 61, 62)}
    again = {"a/bmp.bmp": png(Image.new("RGB", (120, 120), (60,) * 3), format="BMP")}
    dataset, _, copies = look({**STRANGERS, **grey, **again})
    assert copies.clusters == ()
    assert [{dataset.examples[row].id for row in rows} for rows in copies.same_pixels] == [{"a/60.png", "a/bmp.bmp"}]
    assert len(copies.plain) == 4


def test_the_same_shape_in_other_colours_is_no_copy(look):
    disc = np.hypot(*np.mgrid[-60:60, -60:60]) < 40
    drawn = [np.where(disc[..., None], colour, 255) for colour in ((220, 30, 30), (30, 160, 30), (30, 30, 220))]
    dataset, _, copies = look({f"a/{n}.png": png(Image.fromarray(one.astype(np.uint8))) for n, one in enumerate(drawn)})
    assert copies.clusters == ()
    assert len(set(copies.keys)) == len(dataset)


def test_pictures_that_cannot_be_read_are_left_out(look):
    _, found, copies = look({**STRANGERS, "a/x.png": b"", "a/y.png": b"no picture"})
    assert set(found.problems) == {12, 13}
    assert copies.clusters == ()
    assert copies.keys[12:] == tuple(found.hashes[12:])


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_pictures_are_no_problem(look, count):
    _, found, copies = look(dict(list(STRANGERS.items())[:count]))
    assert copies.keys == found.hashes


def test_the_second_time_no_pair_is_looked_for(look, monkeypatch):
    files = {**STRANGERS, "a/x.png": png(original(1)), "a/y.png": altered(original(1), "cropped")}
    _, _, before = look(files)
    monkeypatch.setattr(module, "candidates", lambda *_: pytest.fail("searched again"))
    _, _, again = look(dict(reversed(files.items())))
    assert again.keys == before.keys[::-1]
    assert again.clusters[0].details == before.clusters[0].details


@pytest.mark.parametrize("kind", KINDS)
def test_of_a_set_that_has_grown_only_the_new_picture_is_searched(look, kind, monkeypatch):
    files = {**STRANGERS, "a/x.png": png(original(1)), "a/z.png": altered(original(1), "resized")}
    look(files)
    monkeypatch.setattr(module, "candidates", lambda *_: pytest.fail("searched all again"))
    dataset, _, copies = look({**files, "a/y.png": altered(original(1), kind)})
    assert sets(dataset, copies) == {frozenset({"a/x.png", "a/y.png", "a/z.png"})}


def test_a_new_picture_is_found_of_which_an_old_one_is_a_part(look, monkeypatch):
    files = {**STRANGERS, "a/part.png": altered(original(1), "cropped")}
    look(files)
    monkeypatch.setattr(module, "candidates", lambda *_: pytest.fail("searched all again"))
    dataset, _, copies = look({**files, "a/whole.png": png(original(1))})
    assert sets(dataset, copies) == {frozenset({"a/part.png", "a/whole.png"})}


def test_copies_of_a_picture_that_is_gone_are_copies_still(look, monkeypatch):
    files = {**STRANGERS, "a/x.png": png(original(1)), "a/y.png": altered(original(1), "resized")}
    look({**files, "a/z.png": png(original(2))})
    monkeypatch.setattr(module, "candidates", lambda *_: pytest.fail("searched all again"))
    dataset, _, copies = look(files)
    assert sets(dataset, copies) == {frozenset({"a/x.png", "a/y.png"})}


def test_many_new_pictures_are_searched_with_all_others(look, monkeypatch):
    look({f"a/{seed}.png": png(original(seed)) for seed in range(40, 46)})
    asked = []
    original_search = module.candidates
    monkeypatch.setattr(module, "candidates", lambda *rest: asked.append(1) or original_search(*rest))
    look(STRANGERS)
    assert asked == [1]


@pytest.mark.parametrize(("asked", "searched"), [(0.91, []), (0.97, [1])])
def test_a_little_more_asked_of_copies_is_no_reason_to_search_all_again(look, monkeypatch, asked, searched):
    files = {**STRANGERS, "a/x.png": png(original(1)), "a/y.png": altered(original(1), "resized")}
    monkeypatch.setattr(module, "rule_for", lambda *_: Rule(details=0.9))
    look(files)
    monkeypatch.setattr(module, "rule_for", lambda *_: Rule(details=asked))
    again, search = [], module.candidates
    monkeypatch.setattr(module, "candidates", lambda *rest: again.append(1) or search(*rest))
    _, _, copies = look({**files, "a/z.png": png(original(2))})
    assert again == searched
    assert copies.rule.details == (asked if searched else 0.9)


def test_a_damaged_memory_of_pairs_is_passed_over(look, tmp_path):
    files = {**STRANGERS, "a/x.png": png(original(1)), "a/y.png": altered(original(1), "resized")}
    _, _, before = look(files)
    for path in (tmp_path / "cache" / "copies").glob("*.shard"):
        path.write_bytes(b"nothing")
    _, _, again = look(files)
    assert again.clusters == before.clusters


def test_damaged_memory_is_not_believed(look, tmp_path):
    files = {**STRANGERS, "a/x.png": png(original(1)), "a/y.png": altered(original(1), "cropped")}
    before = look(files)[2].keys
    for path in (tmp_path / "cache" / "copies").glob("*"):
        path.write_bytes(b"broken")
    assert look(files)[2].keys == before


def test_embeddings_add_candidates_that_are_confirmed_like_others(look, monkeypatch):
    from linnaeus.verbs.audit import candidates

    files = {**STRANGERS, "a/x.png": png(original(1)), "a/y.png": altered(original(1), "mirrored")}
    monkeypatch.setattr(candidates, "_by_hash", lambda described: iter(()))
    monkeypatch.setattr(candidates, "LEAST_SIMILAR", 1.1)
    assert look(files)[2].clusters == ()
    embeddings = np.eye(14, 20)
    embeddings[13] = embeddings[12]
    embeddings[1] = embeddings[0]
    dataset, _, copies = look(files, embeddings=embeddings)
    assert sets(dataset, copies) == {frozenset({"a/x.png", "a/y.png"})}


def test_guesses_merged_as_they_come_are_those_merged_at_once():
    draw = np.random.default_rng(0)
    parts = [
        _guesses(*draw.integers(0, 30, (2, 200)), draw.integers(0, 12, 200), draw.integers(0, 5, 200) / 5)
        for _ in range(6)
    ]
    merged, best = _once(parts), {}
    for one in np.concatenate(parts).tolist():
        pair = frozenset(one[:2])
        if pair not in best or one[3] > best[pair][3]:
            best[pair] = one
    assert sorted(merged.tolist()) == sorted(best.values())


def chain(count):
    """Pairs 0-1, 1-2, 2-3 ..."""
    steps = np.arange(count - 1)
    return Pairs(steps, steps + 1, np.tile([0.0, 1.0, 0.0, 1.0], (count - 1, 1)), np.full(count - 1, 0.9))


def test_details_are_what_the_pixels_around_do_not_have():
    draw = np.random.default_rng(0)
    picture, mask = draw.normal(size=(2, 9, 9)), (draw.random((2, 9, 9)) < 0.8).astype(float)
    (found,) = _details_of(mask, picture)
    for n, row, column in ((0, 0, 0), (0, 4, 5), (1, 8, 2), (1, 2, 8)):
        around = np.s_[n, max(0, row - 2) : row + 3, max(0, column - 2) : column + 3]
        mean = (picture[around] * mask[around]).sum() / mask[around].sum()
        assert found[n, row, column] == pytest.approx((picture[n, row, column] - mean) * mask[n, row, column])


def test_a_chain_does_not_join_what_its_ends_do_not_share():
    near = lambda guesses: guesses.take(np.abs(guesses.first - guesses.second) <= 2)  # noqa: E731
    check = lambda guesses: near(Pairs(guesses.first, guesses.second, guesses.maps, np.full(len(guesses), 0.8)))  # noqa: E731
    found = cluster(chain(7), np.arange(7), check)
    assert [one.rows for one in found] == [(0, 1, 2), (3, 4, 5)]


def test_a_chain_that_holds_is_one_cluster_around_the_first():
    check = lambda guesses: Pairs(guesses.first, guesses.second, guesses.maps, np.full(len(guesses), 0.8))  # noqa: E731
    (one,) = cluster(chain(5), np.array([4, 3, 0, 1, 2]), check)
    assert one.rows == (2, 0, 1, 3, 4)
    assert one.details == (0.8, 0.9, 0.9, 0.8)


def test_maps_compose_and_invert():
    half, mirror = np.array([[0.1, 0.5, 0.2, 0.5]]), np.array([[0.0, 1.0, 1.0, -1.0]])
    assert compose(half, mirror)[0] == pytest.approx([0.1, 0.5, 0.7, -0.5])
    assert compose(half, invert(half))[0] == pytest.approx([0, 1, 0, 1])
    assert compose(mirror, mirror)[0] == pytest.approx([0, 1, 0, 1])


class _Prints:
    def __init__(self, pictures):
        from linnaeus.data.fingerprints import condense

        self._stored = condense(pictures)

    def bytes(self, rows):
        return self._stored[rows]


def test_more_is_asked_where_strangers_look_alike():
    shared = scene(0).astype(float)
    alike = [(0.9 * shared + 0.1 * scene(seed)).astype(np.uint8) for seed in range(1, 40)]
    others = [scene(seed) for seed in range(1, 40)]
    rows, labels = np.arange(39), np.zeros(39, np.int64)
    assert rule_for(_Prints(others), rows, labels).details == 0.8
    assert rule_for(_Prints(alike), rows, labels).details > 0.9


@pytest.mark.skipif(not FLOWERS.is_dir(), reason="shared/data/flowers is not here")
def test_planted_copies_of_real_flowers_stay_on_their_side(look):
    draw = np.random.default_rng(3)
    paths = sorted(FLOWERS.glob("*/*.jpg"))[::60]
    files = {f"{path.parent.name}/{path.name}": path.read_bytes() for path in paths}
    source = {}
    for id, data in list(files.items())[::2]:
        image = Image.open(io.BytesIO(data)).convert("RGB")
        for kind in ("resized", "compressed", "cropped", "mirrored", "brighter", "darker", "same"):
            if kind == "cropped":
                width, height = (round(side * (1 - draw.uniform(0.05, 0.15))) for side in image.size)
                left, top = (int(draw.integers(room + 1)) for room in (image.width - width, image.height - height))
                copy = png(image.crop((left, top, left + width, top + height)), format="JPEG", quality=90)
            else:
                copy = data if kind == "same" else altered(image, kind)
            source[f"{id}-{kind}"] = id
            files[f"{id}-{kind}"] = copy
    dataset, found, copies = look(files)
    parts = dict(zip(files, split(dataset, found.hashes, SplitSettings(), clusters=copies.keys).parts, strict=True))
    apart = [copy for copy, id in source.items() if parts[copy] != parts[id]]
    assert len(apart) <= 0.01 * len(source)
    mixed = [one for one in sets(dataset, copies) if len({source.get(id, id) for id in one}) > 1]
    assert mixed == []
