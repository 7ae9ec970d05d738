"""Datasets: splits by identity, the store's promises, formats, and the two real ones."""

import dataclasses
import gzip
import io
import json
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError
from torchvision.io import encode_jpeg, write_jpeg, write_png

from vae.catalogue import DATASETS, DatasetSpec
from vae.datasets import (
    ChecksumError,
    DataConfig,
    DatasetRef,
    load,
    prepare,
    prepare_from,
)
from vae.errors import UserError
from vae.formats import Parsed, parse_cifar10, parse_idx, parse_images, parse_npy
from vae.sources import operator_mirror, sha256
from vae.store import Store, open_store

TRAIN, TEST, VALIDATION = 70, 12, 20
SPLITS = ("train", "val", "test")
decoding = pytest.mark.filterwarnings(
    "ignore:The image decoding and encoding capabilities of TorchVision:DeprecationWarning"
)


def idx(array: NDArray[np.uint8]) -> bytes:
    """An IDX file of bytes: magic, big-endian sizes, data."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


def numbered(first: int, count: int) -> NDArray[np.uint8]:
    """Images [count, 4, 4] of which pixel (0, 0) is the image's number."""
    images = np.zeros((count, 4, 4), np.uint8)
    images[:, 0, 0] = np.arange(first, first + count)
    return images


def numbers(images: NDArray[np.uint8]) -> list[int]:
    """The numbers of `numbered` images [N, C, H, W]."""
    return [int(number) for number in images[:, 0, 0, 0]]


def idx_files() -> dict[str, bytes]:
    """Four IDX files of numbered images; an image's label is its number modulo 10."""
    return {
        "train-images-idx3-ubyte": idx(numbered(0, TRAIN)),
        "train-labels-idx1-ubyte": idx((np.arange(TRAIN) % 10).astype(np.uint8)),
        "t10k-images-idx3-ubyte": idx(numbered(TRAIN, TEST)),
        "t10k-labels-idx1-ubyte": idx((np.arange(TRAIN, TRAIN + TEST) % 10).astype(np.uint8)),
    }


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DatasetSpec:
    """A made-up published dataset, served by the mirror that VAE_DATA_MIRROR names."""
    files = idx_files()
    folder = tmp_path / "mirror" / "made-up"
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(data))
    monkeypatch.setenv("VAE_DATA_MIRROR", str(tmp_path / "mirror"))
    return DatasetSpec(
        name="made-up",
        digests={name: sha256(data) for name, data in files.items()},
        sources=lambda: operator_mirror("made-up"),
        parse=parse_idx,
    )


@pytest.fixture
def local(tmp_path: Path) -> Store:
    """An empty store in a folder, where S3 has nothing to add."""
    return open_store(str(tmp_path / "local-store"))


CONFIG = DataConfig(validation=VALIDATION)


def test_splits_are_disjoint_complete_and_in_order(
    spec: DatasetSpec, store: Store, tmp_path: Path
) -> None:
    """Validation is the end of the training set; every image is in one split, with its label."""
    ref = prepare_from(spec, CONFIG, store, tmp_path / "cache")
    splits = {name: load(ref, store, name) for name in SPLITS}
    found = {name: numbers(split.images) for name, split in splits.items()}
    assert found == {
        "train": list(range(50)),
        "val": list(range(50, 70)),
        "test": list(range(70, 82)),
    }
    assert ref.counts == {"train": 50, "val": 20, "test": 12}
    assert (ref.shape, ref.classes) == ((1, 4, 4), 10)
    for name, (images, labels) in splits.items():
        assert images.dtype == np.uint8
        assert labels.dtype == np.int64
        assert images.shape == (ref.counts[name], *ref.shape)
        assert labels.tolist() == [number % 10 for number in found[name]]


def test_limit_keeps_the_first_of_every_split(
    spec: DatasetSpec, local: Store, tmp_path: Path
) -> None:
    """A limit shortens what was split, so that validation stays disjoint from training."""
    config = dataclasses.replace(CONFIG, limit=15)
    ref = prepare_from(spec, config, local, tmp_path / "cache")
    assert [numbers(load(ref, local, name).images) for name in SPLITS] == [
        list(range(15)),
        list(range(50, 65)),
        list(range(70, 82)),
    ]


def test_a_prepared_dataset_needs_no_source(
    spec: DatasetSpec, store: Store, tmp_path: Path
) -> None:
    """The store is asked first: neither the cache nor a source is needed again."""
    ref = prepare_from(spec, CONFIG, store, tmp_path / "cache")
    offline = dataclasses.replace(spec, sources=list)
    assert prepare_from(offline, CONFIG, store, tmp_path / "empty") == ref
    with pytest.raises(UserError, match="no source gave"):
        prepare_from(offline, DataConfig(validation=21), store, tmp_path / "empty")


def test_a_fresh_store_is_filled_from_the_cache(
    spec: DatasetSpec, local: Store, tmp_path: Path
) -> None:
    """Verified downloads are kept for other stores and other splits."""
    ref = prepare_from(spec, CONFIG, local, tmp_path / "cache")
    offline = dataclasses.replace(spec, sources=list)
    other = open_store(str(tmp_path / "other"))
    assert prepare_from(offline, CONFIG, other, tmp_path / "cache") == ref


def test_the_key_depends_on_what_changes_the_arrays(
    spec: DatasetSpec, local: Store, tmp_path: Path
) -> None:
    """Split and limit make another dataset; binarisation happens later and does not."""
    configs = [
        CONFIG,
        dataclasses.replace(CONFIG, validation=10),
        dataclasses.replace(CONFIG, limit=5),
        dataclasses.replace(CONFIG, binarize="none", binarize_seed=3),
    ]
    refs = [prepare_from(spec, config, local, tmp_path / "cache") for config in configs]
    assert len({ref.key for ref in refs}) == 3
    assert refs[0] == refs[3]


def test_too_large_a_validation_split_is_one_line(
    spec: DatasetSpec, local: Store, tmp_path: Path
) -> None:
    """The error says how many images there are, and nothing is written."""
    with pytest.raises(UserError, match=r"validation = 70 leaves none of its 70 .* less than 70"):
        prepare_from(spec, DataConfig(validation=70), local, tmp_path / "cache")
    assert local.list() == []


def test_racing_preparations_agree(spec: DatasetSpec, store: Store, tmp_path: Path) -> None:
    """Any number of preparations at once all succeed with the same dataset."""
    with ThreadPoolExecutor(4) as pool:
        runs = [
            pool.submit(prepare_from, spec, CONFIG, store, tmp_path / "cache") for _ in range(4)
        ]
        refs = [run.result() for run in runs]
    assert refs == [refs[0]] * 4
    assert numbers(load(refs[0], store, "val").images) == list(range(50, 70))


KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
from vae.catalogue import DatasetSpec, Parsed
from vae.datasets import DataConfig, Split, load, prepare_from
from vae.store import open_store

class Dying:
    def __init__(self, store, writes):
        self.uri, self.read, self.store, self.writes = store.uri, store.read, store, writes
    def put(self, key, data):
        self.count()
        self.store.put(key, data)
    def create(self, key, data):
        self.count()
        self.store.create(key, data)
    def count(self):
        if self.writes == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self.writes -= 1

split = Split(np.arange(320, dtype=np.uint8).reshape(20, 1, 4, 4), np.zeros(20, np.int64))
spec = DatasetSpec(name="x", digests={}, sources=list, parse=lambda _: Parsed(split, split, 1))
store, config, cache = open_store(sys.argv[1]), DataConfig(validation=5), Path(sys.argv[1])
for writes in range(7):
    if (child := os.fork()) == 0:
        prepare_from(spec, config, Dying(store, writes), cache)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert os.WTERMSIG(status) == signal.SIGKILL, status
    assert not any(key.endswith("dataset.json") for key in store.list()), store.list()
assert len(store.list()) == 6, store.list()
ref = prepare_from(spec, config, store, cache)
assert len(load(ref, store, "train").images) == 15
"""


def test_a_killed_preparation_leaves_nothing_to_be_found(tmp_path: Path) -> None:
    """After kill -9 before any of the writes there is no dataset, and it can be prepared."""
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "store")], check=True)


def test_changed_arrays_are_refused_by_name_and_hash(
    spec: DatasetSpec, local: Store, tmp_path: Path
) -> None:
    """A file that changed in the store is never used, and one that is missing is named."""
    ref = prepare_from(spec, CONFIG, local, tmp_path / "cache")
    local.put(f"{ref.key}/val.npy", b"rot")
    with pytest.raises(ChecksumError) as changed:
        load(ref, local, "val")
    assert f"{ref.key}/val.npy: sha256 expected {ref.files['val.npy']}" in str(changed.value)
    assert f"found {sha256(b'rot')}" in str(changed.value)
    local.delete(f"{ref.key}/test.npy")
    with pytest.raises(ChecksumError, match=r"test\.npy: missing"):
        load(ref, local, "test")


def test_a_reference_survives_json(spec: DatasetSpec, local: Store, tmp_path: Path) -> None:
    """The stored record is the reference, in the order of the splits."""
    ref = prepare_from(spec, CONFIG, local, tmp_path / "cache")
    assert DatasetRef.from_json(ref.to_json()) == ref
    assert local.read(f"{ref.key}/dataset.json").decode() == ref.to_json()
    assert list(json.loads(ref.to_json())["counts"]) == list(SPLITS)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"key": 3}', b"\xff"])
def test_a_broken_reference_is_one_line(text: str | bytes) -> None:
    """Whatever is not a dataset record is refused in one line."""
    with pytest.raises(UserError, match="not a dataset record") as raised:
        DatasetRef.from_json(text)
    assert "\n" not in str(raised.value)


def test_a_broken_record_in_the_store_is_named(
    spec: DatasetSpec, local: Store, tmp_path: Path
) -> None:
    """The error names the record's place."""
    ref = prepare_from(spec, CONFIG, local, tmp_path / "cache")
    local.put(f"{ref.key}/dataset.json", b"{}")
    with pytest.raises(ChecksumError, match=f"{ref.key}/dataset.json"):
        prepare_from(spec, CONFIG, local, tmp_path / "cache")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"validation": 0}, "validation: 0 images, must be at least 1"),
        ({"limit": -1}, "limit: -1"),
        ({"binarize_seed": -1}, "binarize_seed: -1"),
        ({"binarize": "static"}, "dynamic"),
    ],
)
def test_a_bad_config_is_refused_when_it_is_made(given: dict[str, object], told: str) -> None:
    """Each message says what was given and what is allowed, without a line break."""
    with pytest.raises(ValidationError) as raised:
        TypeAdapter(DataConfig).validate_python(given)
    (error,) = raised.value.errors()
    assert "\n" not in error["msg"]
    with pytest.raises(ValueError, match=told):
        DataConfig(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["mnits", "", "a\nb\0", "x" * 5000, "a.txt"])
def test_what_is_no_dataset_and_no_path_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other files than .npy neither; the one line says what is allowed and what may be meant."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(UserError, match="allowed: mnist, fashion-mnist, cifar10, a folder") as told:
        DataConfig(name=name).located()
    assert "\n" not in str(told.value)
    assert ("did you mean 'mnist'" in str(told.value)) == (name == "mnits")


def test_a_path_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers, which have folders of their own, are told of the same one; names stay."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pets").mkdir()
    (tmp_path / "set.npy").write_bytes(b"")
    for name in ("pets", "./set.npy"):
        located = DataConfig(name=name, validation=2).located()
        assert located == DataConfig(name=str(tmp_path / name), validation=2)
    assert DataConfig(name="mnist").located() == DataConfig(name="mnist")


@given(st.binary(max_size=64), st.sampled_from(sorted(idx_files())))
def test_any_bytes_as_an_idx_file_parse_or_are_refused(data: bytes, name: str) -> None:
    """Arbitrary bytes in place of one IDX file give a UserError, never another exception."""
    with pytest.raises(UserError) as raised:
        parse_idx(idx_files() | {name: data})
    assert "\n" not in str(raised.value)


@given(
    st.sampled_from(sorted(idx_files())),
    st.integers(0, 15),
    st.integers(0, 255),
    st.integers(0, 99),
)
def test_a_damaged_idx_header_parses_or_is_refused(
    name: str, place: int, value: int, cut: int
) -> None:
    """One changed header byte and a cut tail give a UserError or a consistent dataset."""
    damaged = bytearray(idx_files()[name])
    damaged[min(place, len(damaged) - 1)] = value
    try:
        parsed = parse_idx(idx_files() | {name: bytes(damaged[: len(damaged) - cut])})
    except UserError:
        return
    consistent(parsed)


def consistent(parsed: Parsed) -> None:
    """Check that a parsed dataset is what the rest relies on."""
    for images, labels in (parsed.train, parsed.test):
        assert images.dtype == np.uint8
        assert labels.dtype == np.int64
        assert images.ndim == 4
        assert len(images) == len(labels)
        assert set(labels.tolist()) <= set(range(parsed.classes))


def cifar_archive(train: bytes, test: bytes) -> dict[str, bytes]:
    """CIFAR-10's archive with the same records in every training batch."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        batches = {f"data_batch_{number}.bin": train for number in range(1, 6)}
        for name, data in (batches | {"test_batch.bin": test}).items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return {"cifar-10-binary.tar.gz": buffer.getvalue()}


def test_cifar10_records_are_a_label_and_three_planes() -> None:
    """A record is one label byte, then 1024 bytes each of red, green and blue, row by row."""
    record = bytes([7]) + bytes([1]) * 1024 + bytes([2]) * 1024 + bytes([3]) * 31 + bytes(993)
    parsed = parse_cifar10(cifar_archive(record * 2, record))
    consistent(parsed)
    assert parsed.train.images.shape == (10, 3, 32, 32)
    image, label = parsed.test.images[0], parsed.test.labels[0]
    assert label == 7
    assert [int(image[c].astype(int).sum()) for c in range(3)] == [1024, 2048, 93]
    assert image[2, 0].tolist() == [3] * 31 + [0]


@pytest.mark.parametrize(
    "files",
    [
        {"cifar-10-binary.tar.gz": b"no archive"},
        {"cifar-10-binary.tar.gz": cifar_archive(bytes(3073), b"")["cifar-10-binary.tar.gz"][:90]},
        cifar_archive(bytes(3072), bytes(3073)),
        cifar_archive(bytes(3073), bytes([10]) + bytes(3072)),
    ],
)
def test_what_is_not_cifar10_is_refused(files: dict[str, bytes]) -> None:
    """A broken archive, a cut record and an eleventh class are user errors."""
    with pytest.raises(UserError):
        parse_cifar10(files)


def npy(array: NDArray[np.generic]) -> bytes:
    """The bytes of a .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "layout",
    [
        lambda grey: grey,
        lambda grey: grey[..., None],
        lambda grey: grey[:, None],
        lambda grey: np.asfortranarray(grey),
    ],
)
def test_npy_layouts_of_grey_images_agree(
    layout: Callable[[NDArray[np.uint8]], NDArray[np.uint8]],
) -> None:
    """[N, H, W], [N, H, W, 1] and [N, 1, H, W] are the same images."""
    grey = np.random.default_rng(0).integers(0, 256, (14, 5, 6), dtype=np.uint8)
    parsed = parse_npy({"x.npy": npy(layout(grey))})
    expected = parse_npy({"x.npy": npy(grey)})
    consistent(parsed)
    assert parsed.train.images.shape == (12, 1, 5, 6)
    np.testing.assert_array_equal(parsed.train.images, expected.train.images)
    np.testing.assert_array_equal(parsed.test.images, expected.test.images)


def test_npy_layouts_of_colour_images_agree() -> None:
    """[N, H, W, 3] and [N, 3, H, W] are the same images."""
    colour = np.random.default_rng(0).integers(0, 256, (14, 3, 5, 6), dtype=np.uint8)
    first = parse_npy({"x.npy": npy(colour)})
    last = parse_npy({"x.npy": npy(colour.transpose(0, 2, 3, 1))})
    np.testing.assert_array_equal(first.train.images, last.train.images)


@pytest.mark.parametrize(
    ("array", "told"),
    [
        (np.zeros((9, 4, 4), np.float32), "float32"),
        (np.zeros((9, 4), np.uint8), r"\[9, 4\]"),
        (np.zeros((9, 4, 4, 2), np.uint8), "C 1 or 3"),
        (np.zeros((9, 3, 4, 3), np.uint8), "C 1 or 3"),
        (np.zeros((9, 0, 4), np.uint8), r"\[9, 0, 4\]"),
        (np.array(["pickled"] * 9, object), "allow_pickle"),
        (np.zeros((13, 4, 4), np.uint8), "13 images are too few, must be at least 14"),
    ],
)
def test_an_npy_file_that_is_no_set_of_images_is_refused(
    array: NDArray[np.generic], told: str
) -> None:
    """Another type, an ambiguous layout, a pickle or too few images are user errors."""
    with pytest.raises(UserError, match=told):
        parse_npy({"x.npy": npy(array)})


@pytest.mark.parametrize("shape", ["(1" + "0" * 30 + ",)", "(True, 4, 4)", "(-9, 4)", "-" * 9000])
def test_an_impossible_npy_shape_is_refused(shape: str) -> None:
    """A header that numpy itself trips over is a user error."""
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}}}".encode()
    data = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    with pytest.raises(UserError, match=r"x\.npy: not a \.npy file"):
        parse_npy({"x.npy": data})


@given(st.binary(max_size=100), st.booleans())
def test_any_bytes_as_an_npy_file_are_refused(data: bytes, magic: bool) -> None:
    """Arbitrary bytes, also behind a valid magic, give one line."""
    with pytest.raises(UserError) as raised:
        parse_npy({"x.npy": (b"\x93NUMPY\x01\x00" if magic else b"") + data})
    assert "\n" not in str(raised.value)


@pytest.mark.filterwarnings("ignore:Data type alias 'a':DeprecationWarning")  # a damaged '|u1'
@given(st.integers(0, 127), st.characters(max_codepoint=127), st.integers(0, 40))
def test_a_damaged_npy_header_parses_or_is_refused(place: int, value: str, cut: int) -> None:
    """One changed header byte and a cut tail give a UserError or a consistent dataset."""
    damaged = bytearray(npy(np.zeros((9, 4, 4), np.uint8)))
    damaged[place] = ord(value)
    try:
        parsed = parse_npy({"x.npy": bytes(damaged[: len(damaged) - cut])})
    except UserError:
        return
    consistent(parsed)


def png(*, color: int, bits: int, pixel: bytes) -> bytes:
    """A PNG file of one pixel, in any of the format's colour types and depths."""
    chunks = {
        b"IHDR": (1).to_bytes(4, "big") * 2 + bytes([bits, color, 0, 0, 0]),
        b"IDAT": zlib.compress(b"\0" + pixel),
        b"IEND": b"",
    }
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")
        for kind, data in chunks.items()
    )


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
    assert prepare(config, local).key != ref.key


@decoding
def test_hidden_files_are_no_images(tmp_path: Path, local: Store) -> None:
    """Names that start with a dot are left out, and other suffixes too."""
    folder = image_folder(tmp_path / "pets")
    (folder / ".cache").mkdir()
    for name in (".cache/a.png", "cats/.b.png", "labels.csv"):
        (folder / name).write_bytes(b"not an image")
    assert sum(prepare(DataConfig(name=str(folder), validation=2), local).counts.values()) == 14


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
    assert first.counts == {"train": 15, "val": 3, "test": 3}


@decoding
def test_the_first_odd_image_is_named(tmp_path: Path, local: Store) -> None:
    """Images of different sizes are refused with the first odd file and both shapes."""
    folder = image_folder(tmp_path / "pets")
    write_jpeg(torch.zeros(3, 8, 8, dtype=torch.uint8), str(folder / "cats" / "03b.jpg"))
    with pytest.raises(UserError, match=r"cats/03b\.jpg: .*\(3, 8, 8\), but cats/00\.png has \(1"):
        prepare(DataConfig(name=str(folder), validation=2), local)


@decoding
def test_jpeg_images_are_decoded() -> None:
    """JPEG files are read as well as PNG, images at the top being one class."""
    jpeg = encode_jpeg(torch.full((3, 8, 8), 200, dtype=torch.uint8)).numpy().tobytes()
    parsed = parse_images({f"{number}.jpg": jpeg for number in range(14)})
    consistent(parsed)
    assert (parsed.train.images.shape, parsed.classes) == ((12, 3, 8, 8), 1)
    assert abs(int(parsed.test.images.max()) - 200) < 4


@decoding
@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "not an image"),
        (b"\x89PNG but not really", "not an image"),
        (png(color=6, bits=8, pixel=b"\1\2\3\4"), "4 channels of uint8, must be grey or RGB"),
        (png(color=0, bits=16, pixel=b"\1\2"), "1 channels of uint16, must be"),
        (png(color=2, bits=8, pixel=b"\1\2\3")[:-20], "not an image"),
    ],
)
def test_what_is_no_plain_image_is_named(data: bytes, told: str) -> None:
    """Broken files, and images with transparency or 16 bits, are refused by name in one line."""
    with pytest.raises(UserError, match=rf"cats/a\.png: {told}") as raised:
        parse_images({"cats/a.png": data})
    assert "\n" not in str(raised.value)


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    """An empty folder is told apart from one with too few images."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no \.png"):
        prepare(DataConfig(name=str(tmp_path / "empty")), open_store(str(tmp_path / "store")))


def test_mnist_itself(local: Store) -> None:
    """The real MNIST has the known splits, first labels, mean pixel and digests."""
    ref = prepare(DataConfig(), local)
    assert (ref.shape, ref.classes) == ((1, 28, 28), 10)
    assert ref.counts == {"train": 50_000, "val": 10_000, "test": 10_000}
    train, val, test = (load(ref, local, name) for name in SPLITS)
    assert train.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert test.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert np.bincount(np.concatenate([train.labels, val.labels])).tolist() == [
        5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949,
    ]  # fmt: skip
    pixels = np.concatenate([train.images, val.images])
    assert pixels.mean() / 255 == pytest.approx(0.1307, abs=5e-5)


def test_fashion_mnist_itself(local: Store) -> None:
    """The real Fashion-MNIST has the known splits, classes and mean pixel."""
    ref = prepare(DataConfig(name="fashion-mnist"), local)
    assert ref.counts == {"train": 50_000, "val": 10_000, "test": 10_000}
    train, val, test = (load(ref, local, name) for name in SPLITS)
    assert np.bincount(test.labels).tolist() == [1000] * 10
    assert np.bincount(np.concatenate([train.labels, val.labels])).tolist() == [6000] * 10
    pixels = np.concatenate([train.images, val.images])
    assert pixels.mean() / 255 == pytest.approx(0.2860, abs=5e-5)


def test_every_pinned_digest_is_a_sha256() -> None:
    """The table pins 64 hexadecimal digits for every file."""
    for spec in DATASETS.values():
        assert all(len(bytes.fromhex(digest)) == 32 for digest in spec.digests.values())
