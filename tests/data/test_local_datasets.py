"""One's own images: a folder of them, or a .npy file."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.io import write_jpeg, write_png

from tests.support.idx_files import numbered, numbers
from vae.data.datasets import load, locate, prepare
from vae.errors import UserError
from vae.experiments.settings import DataConfig
from vae.store.open import open_store
from vae.store.promises import Store

SPLITS = ("train", "val", "test")
decoding = pytest.mark.filterwarnings(
    "ignore:The image decoding and encoding capabilities of TorchVision:DeprecationWarning"
)


@pytest.mark.parametrize("name", ["mnits", "", "a\nb\0", "x" * 5000, "a.txt"])
def test_what_is_no_dataset_and_no_path_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other files than .npy neither; the one line says what is allowed and what may be meant."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(UserError, match="allowed: mnist, fashion-mnist, cifar10, emoji, a folder") as told:
        locate(DataConfig(name=name))
    assert "\n" not in str(told.value)
    assert ("did you mean 'mnist'" in str(told.value)) == (name == "mnits")


def test_a_path_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers, which have folders of their own, are told of the same one; names stay."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pets").mkdir()
    (tmp_path / "set.npy").write_bytes(b"")
    for name in ("pets", "./set.npy"):
        located = locate(DataConfig(name=name, validation=2))
        assert located == DataConfig(name=str(tmp_path / name), validation=2)
    assert locate(DataConfig(name="mnist")) == DataConfig(name="mnist")


def image_folder(path: Path) -> Path:
    """Fourteen numbered grey images, seven of each of two classes."""
    for number, image in enumerate(torch.from_numpy(numbered(0, 14))):
        folder = path / ("cats" if number < 7 else "dogs")
        folder.mkdir(parents=True, exist_ok=True)
        write_png(image[None], str(folder / f"{number:02}.png"))
    return path


@decoding
def test_a_folder_of_images_is_a_dataset(tmp_path: Path, local: Store) -> None:
    """Subfolders are classes, one image in seven is the test split, every image is used once."""
    config = DataConfig(name=str(image_folder(tmp_path / "My pets!")), validation=2)
    ref = prepare(config, local)
    assert ref.name == "my-pets"
    assert (ref.counts, ref.classes) == ({"train": 10, "val": 2, "test": 2}, 2)
    splits = [load(ref, local, name) for name in SPLITS]
    found = [number for split in splits for number in numbers(split.images)]
    assert sorted(found) == list(range(14))
    assert found != sorted(found)
    assert [int(label) for split in splits for label in split.labels] == [n // 7 for n in found]
    assert prepare(config, local) == ref
    (tmp_path / "My pets!" / "cats" / "00.png").rename(tmp_path / "My pets!" / "cats" / "99.png")
    assert prepare(config, local) == ref
    (tmp_path / "My pets!" / "cats" / "99.png").rename(tmp_path / "My pets!" / "dogs" / "99.png")
    assert prepare(config, local).key != ref.key


@decoding
def test_hidden_files_are_no_images(tmp_path: Path, local: Store) -> None:
    """Names that start with a dot are left out, and other suffixes too, and both are told."""
    folder = image_folder(tmp_path / "pets")
    (folder / ".cache").mkdir()
    for name in (".cache/a.png", "cats/.b.png", "labels.csv"):
        (folder / name).write_bytes(b"not an image")
    ref = prepare(DataConfig(name=str(folder), validation=2), local)
    assert sum(ref.counts.values()) == 14
    assert ref.notes == ("2 hidden left out", "1 .csv left out")


def test_a_npy_file_is_a_dataset(tmp_path: Path, local: Store) -> None:
    """A .npy file has one class, and its folder does not matter."""
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        np.save(tmp_path / folder / "set.npy", numbered(0, 21))
    first, second = (
        prepare(DataConfig(name=str(tmp_path / folder / "set.npy"), validation=3), local)
        for folder in ("a", "b")
    )
    assert first == second
    assert (first.name, first.classes, first.shape) == ("set", 1, (1, 4, 4))
    assert sum(first.counts.values()) == 21
    assert first.counts["val"] == 3


@decoding
def test_the_first_odd_image_is_named(tmp_path: Path, local: Store) -> None:
    """Images of different sizes are refused with the first odd file and both shapes."""
    folder = image_folder(tmp_path / "pets")
    write_jpeg(torch.zeros(3, 8, 8, dtype=torch.uint8), str(folder / "cats" / "03b.jpg"))
    with pytest.raises(UserError, match=r"cats/03b\.jpg: .*\(8, 8\), but cats/00\.png has \(4"):
        prepare(DataConfig(name=str(folder), validation=2), local)


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    """An empty folder is told apart from one with too few images."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no image in this folder or below it"):
        prepare(DataConfig(name=str(tmp_path / "empty")), open_store(str(tmp_path / "store")))


def test_an_image_keeps_its_split_when_others_come(tmp_path: Path, local: Store) -> None:
    """What a model was trained on does not judge it later, however the set has grown."""
    images = np.random.default_rng(0).integers(0, 256, (900, 4, 4), dtype=np.uint8)

    def split(n: int) -> dict[str, set[bytes]]:
        np.save(tmp_path / "set.npy", images[np.random.default_rng(n).permutation(n)])
        ref = prepare(DataConfig(name=str(tmp_path / "set.npy"), validation=40), local)
        loaded = {part: load(ref, local, part).images for part in ref.counts}
        assert {part: len(rows) for part, rows in loaded.items()} == ref.counts
        return {part: {row.tobytes() for row in rows} for part, rows in loaded.items()}

    before = split(300)
    for n in (301, 350, 600, 900):
        after = split(n)
        assert not before["train"] & after["val"]
        assert len(after["train"] | after["val"] | after["test"]) == n
        before = after
