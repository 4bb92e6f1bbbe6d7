import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from linnaeus.data import traits as module
from linnaeus.data.cache import scan
from linnaeus.data.sources import open_source
from linnaeus.data.traits import MEASURED, measure, measure_picture
from linnaeus.records import Preprocessing
from linnaeus.tables import read_table, write_table

FLOWERS = Path(__file__).parents[2] / "shared" / "data" / "flowers"
STORED = Preprocessing(size_px=32, resize="squash")


def plain(level, side=64, channels=3):
    return np.full((side, side, channels), level, np.uint8)


def noise(side=64, seed=0, channels=3):
    return np.random.default_rng(seed).integers(0, 256, (side, side, channels), dtype=np.uint8)


def scene(side=256, seed=1):
    """Soft shapes with edges, as photographs have."""
    rough = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return cv2.resize(rough, (side, side), interpolation=cv2.INTER_NEAREST)


def trait(picture, name):
    return measure_picture(picture)[MEASURED.index(name)]


@pytest.fixture
def look(tmp_path):
    """Scan and measure a source: look(path, preprocessing)."""

    def run(source, preprocessing=STORED, **options):
        dataset = open_source(str(source), cache_dir=tmp_path / "cache")
        found = scan(dataset, preprocessing, cache_dir=tmp_path / "pixels", cache_gb=1)
        return dataset, found, measure(dataset, found, preprocessing, **options)

    return run


@pytest.mark.parametrize(("level", "brightness"), [(0, 0.0), (51, 0.2), (255, 1.0)])
def test_a_plain_picture_has_its_level_as_brightness_and_nothing_else(level, brightness):
    assert measure_picture(plain(level)) == pytest.approx((brightness, 0, 0, 0, 0, 1, 1), abs=1e-9)


def test_half_black_half_white_has_the_greatest_contrast_and_one_bit():
    picture = plain(0)
    picture[:, 32:] = 255
    assert trait(picture, "contrast") == pytest.approx(0.5)
    assert trait(picture, "entropy") == pytest.approx(1.0)


def test_entropy_is_that_of_scipy():
    from scipy.stats import entropy

    grey = noise(channels=1)
    counts = np.bincount(grey.ravel(), minlength=256)
    assert trait(grey, "entropy") == pytest.approx(entropy(counts, base=2), abs=1e-9)


def test_sharpness_of_one_tile_is_the_mean_square_of_the_laplacian():
    grey = noise(4, channels=1)
    squares = cv2.Laplacian(grey[:, :, 0], cv2.CV_64F) ** 2
    assert trait(grey, "sharpness") == pytest.approx(np.sort(squares.ravel())[-4:].mean())


def test_blur_lowers_sharpness_step_by_step():
    blurred = [cv2.GaussianBlur(scene(), (0, 0), sigma) for sigma in (0.5, 1, 2, 4)]
    values = [trait(picture, "sharpness") for picture in (scene(), *blurred)]
    assert values == sorted(values, reverse=True)
    assert values[-1] < values[0] / 20


def test_a_sharp_subject_before_a_soft_background_is_sharp():
    soft = cv2.GaussianBlur(scene(), (0, 0), 6)
    subject = soft.copy()
    subject[96:160, 96:160] = scene()[96:160, 96:160]
    assert trait(subject, "sharpness") > 5 * trait(soft, "sharpness")


def test_a_larger_stored_picture_is_measured_at_the_same_size():
    large = cv2.resize(scene(1024), (768, 768), interpolation=cv2.INTER_AREA)
    same = cv2.resize(scene(1024), (256, 256), interpolation=cv2.INTER_AREA)
    assert trait(large, "sharpness") == pytest.approx(trait(same, "sharpness"), rel=0.15)


def test_colourfulness_is_that_of_its_authors_formula():
    picture = noise(48, seed=3)
    red, green, blue = (picture[:, :, c].astype(float) for c in range(3))
    rg, yb = red - green, (red + green) / 2 - blue
    expected = np.hypot(rg.std(), yb.std()) + 0.3 * np.hypot(rg.mean(), yb.mean())
    assert trait(picture, "colourfulness") == pytest.approx(expected, rel=1e-9)


def test_grey_has_no_colourfulness_with_one_channel_or_three():
    grey = noise(channels=1)
    assert trait(grey, "colourfulness") == trait(np.repeat(grey, 3, axis=2), "colourfulness") == 0


def test_the_share_without_structure_is_measured():
    picture = noise()
    picture[:, :32] = 128
    assert trait(picture, "uniform_area") == pytest.approx(0.5, abs=0.03)


def test_a_plain_frame_around_a_picture_is_noticed():
    picture = noise()
    assert trait(picture, "border_uniformity") < 0.2
    picture[:4] = picture[-4:] = picture[:, :4] = picture[:, -4:] = 250
    assert trait(picture, "border_uniformity") == 1


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 3), (2, 7, 3), (300, 3, 1), (9, 600, 3)])
def test_a_picture_of_any_shape_is_measured(shape):
    assert np.isfinite(measure_picture(np.full(shape, 77, np.uint8))).all()


def test_sizes_are_those_of_the_originals(tmp_path, look):
    for name, (width, height) in {"a/1.png": (40, 20), "b/2.png": (30, 60)}.items():
        (tmp_path / "pictures" / name).parent.mkdir(parents=True)
        Image.new("RGB", (width, height)).save(tmp_path / "pictures" / name)
    _, _, traits = look(tmp_path / "pictures")
    assert traits.numbers["width"].tolist() == [40, 30]
    assert traits.numbers["aspect_ratio"].tolist() == [2, 0.5]
    assert traits.numbers["megapixels"].tolist() == [0.0008, 0.0018]


def test_padding_is_not_measured(tmp_path, look):
    (tmp_path / "pictures/a").mkdir(parents=True)
    Image.new("RGB", (60, 20), (0, 0, 0)).save(tmp_path / "pictures/a/1.png")
    _, _, traits = look(tmp_path / "pictures", Preprocessing(size_px=32, resize="pad"))
    assert traits.numbers["brightness"].tolist() == [0]


def test_a_picture_that_cannot_be_read_keeps_its_row_and_says_why(photos, tmp_path, look):
    import shutil

    shutil.copytree(photos, tmp_path / "pictures")
    (tmp_path / "pictures/red/000.png").write_bytes(b"no picture")
    dataset, found, traits = look(tmp_path / "pictures")
    (row,) = found.problems
    assert len(traits) == len(dataset)
    assert list(traits.problems) == [row]
    assert np.isnan(traits.numbers["brightness"]).nonzero()[0].tolist() == [row]
    assert np.isnan(traits.numbers["width"][row])


def test_the_number_of_threads_changes_nothing(photos, look):
    _, _, one = look(photos, workers=1)
    _, _, three = look(photos, workers=3)
    assert all((one.numbers[name] == three.numbers[name]).all() for name in one.numbers)


def test_a_second_look_measures_only_what_is_new(photos, look, tmp_path, monkeypatch):
    folder = Path(shutil.copytree(photos, tmp_path / "photos"))
    _, _, first = look(folder, cache_dir=tmp_path / "pixels")
    seen = []
    monkeypatch.setattr(module, "measure_picture", lambda picture: seen.append(1) or measure_picture(picture))
    Image.fromarray(noise(48, seed=99)).save(next(folder.iterdir()) / "new.png")
    _, _, second = look(folder, cache_dir=tmp_path / "pixels")
    assert len(seen) == 1
    place = {id: row for row, id in enumerate(second.ids)}
    rows = [place[id] for id in first.ids]
    for name in MEASURED:
        np.testing.assert_array_equal(second.numbers[name][rows], first.numbers[name])
    assert np.isfinite(second.numbers["entropy"][place[next(id for id in second.ids if id.endswith("new.png"))]])


def test_progress_ends_with_all(photos, look):
    told = []
    look(photos, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (72, 72)


def test_the_folder_leaves_out_the_class(tmp_path, look):
    for k, name in enumerate(("cam1/red/1.png", "cam2/red/2.png", "cam2/blue/3.png")):
        path = tmp_path / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (k, k, k)).save(path)
    (tmp_path / "pictures/t.csv").write_text(
        "path,label\ncam1/red/1.png,red\ncam2/red/2.png,red\ncam2/blue/3.png,blue\n"
    )
    _, _, traits = look(tmp_path / "pictures/t.csv")
    assert traits.texts["folder"] == ("cam1", "cam2", "cam2")


def test_further_columns_of_the_table_become_numbers_or_words(tmp_path, look):
    for name in "abc":
        Image.new("RGB", (8, 8)).save(tmp_path / f"{name}.png")
    (tmp_path / "t.csv").write_text(
        "path,label,dose,camera,brightness,odd\na.png,x,0.5,A7,9,nan\nb.png,y,,A9,8,1\nc.png,x,2,,7,2\n"
    )
    _, _, traits = look(tmp_path / "t.csv")
    assert traits.numbers["dose"].tolist() == pytest.approx([0.5, np.nan, 2], nan_ok=True)
    assert traits.numbers["brightness (table)"].tolist() == [9, 8, 7]
    assert traits.numbers["brightness"].tolist() == [0, 0, 0]
    assert traits.texts["camera"] == ("A7", "A9", "")
    assert traits.texts["odd"] == ("nan", "1", "2")


def test_rows_are_taken_in_the_order_asked_for(photos, look):
    _, _, traits = look(photos)
    taken = traits.take([5, 0])
    assert taken.ids == (traits.ids[5], traits.ids[0])
    assert taken.numbers["sharpness"].tolist() == traits.numbers["sharpness"][[5, 0]].tolist()
    assert taken.texts["format"] == ("PNG", "PNG")


def test_a_table_of_traits_is_read_back_as_it_was(photos, tmp_path, look):
    _, _, traits = look(photos)
    traits.numbers["width"][0] = np.nan
    write_table(tmp_path / "traits.csv", traits.table())
    back = read_table(tmp_path / "traits.csv", ("id", *traits.texts))
    assert tuple(back["id"]) == traits.ids
    np.testing.assert_array_equal(back["width"], traits.numbers["width"])
    np.testing.assert_array_equal(back["entropy"], traits.numbers["entropy"])
    assert tuple(back["group"]) == traits.texts["group"]


def test_the_document_is_json_with_null_for_what_is_not_known(photos, look):
    _, _, traits = look(photos)
    traits.numbers["width"][0] = np.nan
    back = json.loads(json.dumps(traits.document(), allow_nan=False))
    assert back["width"][:2] == [None, 20]


@pytest.mark.skipif(not FLOWERS.is_dir(), reason="the shared photographs are not here")
def test_of_photographs_the_blurred_ones_have_the_least_sharpness(look):
    from sklearn.metrics import roc_auc_score

    paths = sorted(FLOWERS.glob("*/*.jpg"))[::60]
    pictures = [cv2.resize(cv2.imread(str(path)), (256, 256), interpolation=cv2.INTER_AREA) for path in paths]
    blurred = [cv2.GaussianBlur(picture, (0, 0), 2.5) for picture in pictures]
    values = [-trait(picture, "sharpness") for picture in (*pictures, *blurred)]
    assert roc_auc_score([0] * len(pictures) + [1] * len(blurred), values) > 0.97
