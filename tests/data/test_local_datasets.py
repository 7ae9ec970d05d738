"""One's own images: a folder of them, or a .npy file."""

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.io import write_jpeg, write_png

from tests.support.idx_files import numbered, numbers
from tests.support.splits import load
from vae.data.contact_sheet import draw_sheet, write_sheet
from vae.data.datasets import DatasetRef, locate, prepare
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
    with pytest.raises(
        UserError, match="allowed: mnist, fashion-mnist, cifar10, emoji, photo-patches, a folder"
    ) as told:
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
    assert ref.notes[:2] == ("2 hidden left out", "1 .csv left out")


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


def write_images(folder: Path, count: int, first: int = 0, suffix: str = ".png") -> None:
    """Grey images, each of other pixels, 0 and 255 among them."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        pixels = np.random.default_rng(number).integers(0, 256, (4, 4), dtype=np.uint8)
        options: dict[str, Any] = {"lossless": True} if suffix == ".webp" else {}
        Image.fromarray(pixels).save(folder / f"{number:02}{suffix}", **options)


def read_pixels(ref: DatasetRef, store: Store, split: str) -> set[bytes]:
    """The images of a split."""
    return {image.tobytes() for image in load(ref, store, split).images}


def test_splits_that_are_given_are_honoured(tmp_path: Path, local: Store) -> None:
    """Folders for train, val and test are no classes, and no image leaves its split."""
    expected = {}
    for number, split in enumerate(("train", "val", "test")):
        for place, label in enumerate(("cats", "dogs")):
            write_images(tmp_path / "set" / split / label, 5, 10 * number + 5 * place)
        files = sorted((tmp_path / "set" / split).rglob("*.png"))
        expected[split] = {np.asarray(Image.open(file)).tobytes() for file in files}
    ref = prepare(DataConfig(name=str(tmp_path / "set")), local)
    assert ref.counts == {"train": 10, "val": 10, "test": 10}
    assert ref.class_names == ("cats", "dogs")
    assert {split: read_pixels(ref, local, split) for split in SPLITS} == expected


def test_a_given_test_split_is_never_trained_on(tmp_path: Path, local: Store) -> None:
    """Without folders for validation, it is held out of what is there to train with."""
    write_images(tmp_path / "set" / "train", 20)
    write_images(tmp_path / "set" / "test", 6, 20)
    ref = prepare(DataConfig(name=str(tmp_path / "set"), validation=4), local)
    assert ref.counts == {"train": 16, "val": 4, "test": 6}
    write_images(tmp_path / "set" / "test", 1, 0)
    ref = prepare(DataConfig(name=str(tmp_path / "set"), validation=4), local)
    assert "1 images of val or test are also in another split" in ref.notes


def test_links_are_followed_and_loops_refused(tmp_path: Path, local: Store) -> None:
    """A class folder that is a link is a class; one that leads back up is named."""
    write_images(tmp_path / "set" / "a", 10)
    write_images(tmp_path / "elsewhere", 10, 10)
    (tmp_path / "set" / "b").symlink_to(tmp_path / "elsewhere")
    config = DataConfig(name=str(tmp_path / "set"), validation=2)
    ref = prepare(config, local)
    assert (sum(ref.counts.values()), ref.class_names) == (20, ("a", "b"))
    (tmp_path / "set" / "a" / "up").symlink_to(tmp_path / "set")
    with pytest.raises(UserError, match=r"set/a/up/?: a link to a folder that it lies in"):
        prepare(config, local)


def test_what_is_beside_the_images_is_counted(tmp_path: Path, local: Store) -> None:
    """Suffixes that are not read, pipes and broken links; a folder called .png is a folder."""
    write_images(tmp_path / "set" / "results.png", 10)
    write_images(tmp_path / "set" / "b", 10, 10, ".webp")
    for name in ("x.heic", "y.HEIC", "notes"):
        (tmp_path / "set" / name).write_bytes(b"?")
    os.mkfifo(tmp_path / "set" / "pipe.png")
    (tmp_path / "set" / "gone.png").symlink_to(tmp_path / "nowhere")
    ref = prepare(DataConfig(name=str(tmp_path / "set"), validation=2), local)
    assert sum(ref.counts.values()) == 20
    assert ref.class_names == ("b", "results.png")
    assert ref.notes[:4] == (
        "2 .heic left out",
        "1 broken links left out",
        "1 files without a suffix left out",
        "1 pipes, sockets or devices left out",
    )


def test_a_broken_file_is_refused_or_skipped_as_asked(tmp_path: Path, local: Store) -> None:
    """In one printable line, whatever the file is called; and nothing stays in the store."""
    write_images(tmp_path / "set", 20)
    (tmp_path / "set" / os.fsdecode(b"caf\xe9\n.png")).write_bytes(b"not an image")
    config = DataConfig(name=str(tmp_path / "set"), validation=2)
    with pytest.raises(UserError) as raised:
        prepare(config, local)
    assert str(raised.value) == "caf\\xe9\\n.png: not an image: of no known format"
    assert local.list() == []
    ref = prepare(dataclasses.replace(config, broken="skip"), local)
    assert sum(ref.counts.values()) == 20
    assert ref.notes == (f"1 skipped ({raised.value})",)


def test_sizes_and_colours_may_differ_where_they_are_set(tmp_path: Path, local: Store) -> None:
    """Grey among colour is taken as colour, and told; data.size takes any mixture of sizes."""
    write_images(tmp_path / "set", 14)
    Image.new("RGB", (4, 4), (200, 0, 0)).save(tmp_path / "set" / "red.png")
    config = DataConfig(name=str(tmp_path / "set"), validation=2)
    ref = prepare(config, local)
    assert (ref.shape, ref.notes) == ((3, 4, 4), ("14 grey among colour, taken as colour",))
    Image.new("RGB", (9, 30), (0, 200, 0)).save(tmp_path / "set" / "tall.png")
    ref = prepare(dataclasses.replace(config, size=6, colours=1), local)
    assert ref.shape == (1, 6, 6)
    assert set(ref.notes) == {
        "15 enlarged to 6×6",
        "2 in colour, taken as grey",
        "1 reduced and cropped to 6×6",
    }


def test_a_table_names_images_classes_and_splits(tmp_path: Path, local: Store) -> None:
    """Paths are relative to the table; a file that is not there is named."""
    write_images(tmp_path / "images", 20)
    lines = [f"images/{n:02}.png;{'odd' if n % 2 else 'even'};{n}" for n in range(20)]
    table = tmp_path / "set.csv"
    table.write_text("\ufeffFile;Label;Other\n" + "\n".join(lines) + "\n")
    config = DataConfig(name=str(table), validation=2)
    ref = prepare(config, local)
    assert (sum(ref.counts.values()), ref.class_names) == (20, ("even", "odd"))
    table.write_text("images/00.png,even\nimages/99.png,odd\n")
    with pytest.raises(UserError, match=r"images/99\.png: cannot be read: No such file"):
        prepare(config, local)


def test_labels_lie_beside_an_array(tmp_path: Path, local: Store) -> None:
    """NAME-labels.npy gives the classes of NAME.npy, by name; that is told."""
    np.save(tmp_path / "set.npy", numbered(0, 21))
    np.save(tmp_path / "set-labels.npy", np.arange(21) % 3 + 5)
    ref = prepare(DataConfig(name=str(tmp_path / "set.npy"), validation=3), local)
    assert (ref.classes, ref.class_names) == (3, ("5", "6", "7"))
    assert "classes from set-labels.npy" in ref.notes
    for split in (load(ref, local, name) for name in SPLITS):
        assert [number % 3 for number in numbers(split.images)] == split.labels.tolist()


def test_the_same_images_are_the_same_dataset_wherever_they_lie(
    tmp_path: Path, local: Store, s3_uri: str
) -> None:
    """A folder, a pattern, another file system and S3 give one digest."""
    import fsspec

    memory, bucket = fsspec.filesystem("memory"), open_store(s3_uri)
    for label, first in (("a", 0), ("b", 10)):
        write_images(tmp_path / "set" / label, 10, first)
    for file in (tmp_path / "set").rglob("*.png"):
        name = file.relative_to(tmp_path).as_posix()
        memory.pipe_file(f"/{name}", file.read_bytes())
        bucket.put(name, file.read_bytes())
    bucket.put("set/b/note.txt", b"")
    names = [
        *(str(tmp_path / "set"), f"{tmp_path}/set/*/*.png", f"file://{tmp_path}/set"),
        *("memory://set", "memory://set/**/*.png"),
        *(f"{s3_uri}/set/", f"{s3_uri}/set/*/*.png", f"{s3_uri}/set/**"),
    ]
    refs = [prepare(DataConfig(name=name, validation=2), local) for name in names]
    assert {ref.digest for ref in refs} == {refs[0].digest}
    assert {ref.name for ref in refs} == {"set"}
    assert [ref.notes for ref in refs if ref.notes] == [("1 .txt left out",)] * 2
    with pytest.raises(UserError, match=r"no image matches \*\.jpg"):
        prepare(DataConfig(name=f"{s3_uri}/set/*.jpg"), local)


def test_a_path_is_not_taken_for_a_dataset(
    tmp_path: Path, local: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a separator it is the folder, and `~` is one's home."""
    write_images(tmp_path / "mnist", 14)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("./mnist", "mnist/", "~/mnist"):
        assert locate(DataConfig(name=name)).name == str(tmp_path / "mnist")
    assert prepare(DataConfig(name="./mnist", validation=2), local).shape == (1, 4, 4)


def test_a_contact_sheet_shows_images_with_their_classes(tmp_path: Path, local: Store) -> None:
    """It lies beside the dataset, is drawn once, and has a tile for every image, as it is."""
    write_images(tmp_path / "set" / "a", 10)
    write_images(tmp_path / "set" / ("b" * 99), 10, 10)
    ref = prepare(DataConfig(name=str(tmp_path / "set"), validation=2), local)
    path = Path(write_sheet(ref, local))
    sheet = np.asarray(Image.open(path).convert("L"))
    first = load(ref, local, "train").images[0, 0]
    np.testing.assert_array_equal(sheet[6:102:24, 6:102:24], first)
    drawn = path.read_bytes()
    path.write_bytes(b"kept")
    assert Path(write_sheet(ref, local)).read_bytes() == b"kept"
    assert draw_sheet(*load(ref, local, "train"), ref.class_names) == drawn
