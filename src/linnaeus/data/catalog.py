"""The data sets that have a name: where they come from, what they must be, whose they are.

The sha256 sums and sizes are those of TensorFlow Datasets (its url_checksums files, read in 2026), which publishes them
for every file here; `digits` comes with scikit-learn and is not downloaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal


@dataclass(frozen=True)
class Download:
    """One file to fetch: `digest` is "sha256:..." or "md5:...", `size` is in bytes."""

    url: str
    name: str
    digest: str
    size: int


@dataclass(frozen=True)
class Entry:
    """One data set that has a name.

    Attributes:
        name: What the user types.
        title: Its name for people.
        layout: "digits", "cifar", "folder" or "pets": how its files are read.
        classes: Class names, in the order of the network's outputs.
        licence: As its authors or publishers state it.
        citation: Whom to cite.
        homepage: Where its authors describe it.
        files: What is downloaded.
        folder: The folder that its archive unpacks to.
        class_folders: Class name of each folder, where the folders are not named like the classes.
    """

    name: str
    title: str
    layout: Literal["digits", "cifar", "folder", "pets"]
    classes: tuple[str, ...]
    licence: str
    citation: str
    homepage: str
    files: tuple[Download, ...] = ()
    folder: str = ""
    class_folders: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def size(self) -> int:
        """Bytes to download."""
        return sum(file.size for file in self.files)


_IMAGENETTE = MappingProxyType(
    {
        "n01440764": "tench",
        "n02102040": "English springer",
        "n02979186": "cassette player",
        "n03000684": "chain saw",
        "n03028079": "church",
        "n03394916": "French horn",
        "n03417042": "garbage truck",
        "n03425413": "gas pump",
        "n03445777": "golf ball",
        "n03888257": "parachute",
    }
)

_CIFAR100 = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish
forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle
mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle wardrobe whale
willow_tree wolf woman worm
"""

_PETS = """
Abyssinian Bengal Birman Bombay British_Shorthair Egyptian_Mau Maine_Coon Persian Ragdoll Russian_Blue Siamese Sphynx
american_bulldog american_pit_bull_terrier basset_hound beagle boxer chihuahua english_cocker_spaniel english_setter
german_shorthaired great_pyrenees havanese japanese_chin keeshond leonberger miniature_pinscher newfoundland pomeranian
pug saint_bernard samoyed scottish_terrier shiba_inu staffordshire_bull_terrier wheaten_terrier yorkshire_terrier
"""

_KRIZHEVSKY = "A. Krizhevsky (2009), Learning Multiple Layers of Features from Tiny Images, University of Toronto."

_ENTRIES = (
    Entry(
        name="digits",
        title="Handwritten digits, 8x8",
        layout="digits",
        classes=tuple("0123456789"),
        licence="CC BY 4.0 (UCI Machine Learning Repository)",
        citation="E. Alpaydin, C. Kaynak (1998), Optical Recognition of Handwritten Digits, UCI.",
        homepage="https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits",
    ),
    Entry(
        name="cifar10",
        title="CIFAR-10",
        layout="cifar",
        classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
        licence="none stated by its authors; research use is customary",
        citation=_KRIZHEVSKY,
        homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
        files=(
            Download(
                url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
                name="cifar-10-binary.tar.gz",
                digest="sha256:c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
                size=170_052_171,
            ),
        ),
        folder="cifar-10-batches-bin",
    ),
    Entry(
        name="cifar100",
        title="CIFAR-100",
        layout="cifar",
        classes=tuple(_CIFAR100.split()),
        licence="none stated by its authors; research use is customary",
        citation=_KRIZHEVSKY,
        homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
        files=(
            Download(
                url="https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
                name="cifar-100-binary.tar.gz",
                digest="sha256:58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
                size=168_513_733,
            ),
        ),
        folder="cifar-100-binary",
    ),
    Entry(
        name="flowers",
        title="TensorFlow flowers",
        layout="folder",
        classes=("daisy", "dandelion", "roses", "sunflowers", "tulips"),
        licence="CC BY, each photograph by its own author, named in LICENSE.txt of the archive",
        citation="The TensorFlow Team (2019), Flowers.",
        homepage="https://www.tensorflow.org/datasets/catalog/tf_flowers",
        files=(
            Download(
                url="https://storage.googleapis.com/download.tensorflow.org/example_images/flower_photos.tgz",
                name="flower_photos.tgz",
                digest="sha256:4c54ace7911aaffe13a365c34f650e71dd5bf1be0a58b464e5a7183e3e595d9c",
                size=228_813_984,
            ),
        ),
        folder="flower_photos",
    ),
    Entry(
        name="imagenette",
        title="Imagenette, 320 px",
        layout="folder",
        classes=tuple(_IMAGENETTE.values()),
        licence="Apache-2.0 for the selection; the photographs are ImageNet's, for non-commercial research",
        citation="J. Howard (2019), Imagenette, fast.ai; photographs: J. Deng et al. (2009), ImageNet, CVPR.",
        homepage="https://github.com/fastai/imagenette",
        files=(
            Download(
                url="https://s3.amazonaws.com/fast-ai-imageclas/imagenette2-320.tgz",
                name="imagenette2-320.tgz",
                digest="sha256:5020a9130cea0348272823cb12d2db7e981c6f2afa3dce71ccd5b8013005c55e",
                size=341_553_947,
            ),
        ),
        folder="imagenette2-320",
        class_folders=_IMAGENETTE,
    ),
    Entry(
        name="pets",
        title="Oxford-IIIT Pet",
        layout="pets",
        classes=tuple(_PETS.split()),
        licence="CC BY-SA 4.0",
        citation="O. M. Parkhi, A. Vedaldi, A. Zisserman, C. V. Jawahar (2012), Cats and Dogs, CVPR.",
        homepage="https://www.robots.ox.ac.uk/~vgg/data/pets/",
        files=(
            Download(
                url="https://www.robots.ox.ac.uk/~vgg/data/pets/data/images.tar.gz",
                name="images.tar.gz",
                digest="sha256:67195c5e1c01f1ab5f9b6a5d22b8c27a580d896ece458917e61d459337fa318d",
                size=791_918_971,
            ),
            Download(
                url="https://www.robots.ox.ac.uk/~vgg/data/pets/data/annotations.tar.gz",
                name="annotations.tar.gz",
                digest="sha256:52425fb6de5c424942b7626b428656fcbd798db970a937df61750c0f1d358e91",
                size=19_173_078,
            ),
        ),
        folder="oxford-iiit-pet",
    ),
)

CATALOG: Mapping[str, Entry] = MappingProxyType({entry.name: entry for entry in _ENTRIES})
"""Every built-in name, in the order in which they are shown."""
