import gzip
import hashlib
import struct

import numpy as np
import pytest
from torchvision.datasets.mnist import read_sn3_pascalvincent_tensor

from robustloss.data import download, mnist
from robustloss.errors import Problem

TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = (name for pair in mnist.FILES.values() for name in pair)
SPEC = {"name": "mnist", "train_count": 20, "evaluation_count": 5}


def idx(array):
    return struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture
def contents():
    """Thirty training and twelve test images with their labels, under the names of the official files."""
    generator = np.random.default_rng(7)
    return {
        TRAIN_IMAGES: generator.integers(0, 256, (30, 28, 28), dtype=np.uint8),
        TRAIN_LABELS: (np.arange(30) * 3 % 10).astype(np.uint8),
        TEST_IMAGES: generator.integers(0, 256, (12, 28, 28), dtype=np.uint8),
        TEST_LABELS: (np.arange(12) * 7 % 10).astype(np.uint8),
    }


def sources_of(folder, files):
    """Put the files' bytes into the folder and return their rows as data/sources.csv would give them."""
    (folder / "mnist").mkdir()
    for name, content in files.items():
        (folder / "mnist" / name).write_bytes(content)
    return {
        name: {
            "file": name,
            "url": f"https://example.org/{name}",
            "md5": hashlib.md5(content).hexdigest(),
            "sha256": hashlib.sha256(content).hexdigest(),
        }
        for name, content in files.items()
    }


def prepare(folder, contents, spec=SPEC, **replaced):
    """Prepare the contents; `replaced` gives other bytes for train_images, train_labels, test_images or test_labels."""
    names = dict(zip(("train_images", "train_labels", "test_images", "test_labels"), contents, strict=True))
    files = {name: gzip.compress(idx(array), mtime=0) for name, array in contents.items()}
    files |= {names[short]: content for short, content in replaced.items()}
    return mnist.prepare(spec, folder / "prepared", folder, may_download=False, sources=sources_of(folder, files))


def test_prepared_images_and_labels_are_those_of_the_files(tmp_path, contents):
    data = prepare(tmp_path, contents)
    expected = {
        "train": (contents[TRAIN_IMAGES][:20], contents[TRAIN_LABELS][:20]),
        "test": (contents[TEST_IMAGES], contents[TEST_LABELS]),
        "evaluation": (contents[TEST_IMAGES][:5], contents[TEST_LABELS][:5]),
    }
    for split, (images, labels) in expected.items():
        assert data.images(split).shape == (len(images), 28, 28, 1)
        assert np.array_equal(data.images(split)[..., 0], images)
        assert data.labels(split).tolist() == labels.tolist()
        assert data.index(split)["image"].tolist() == list(range(len(images)))
    assert data.classes == list("0123456789")


def test_counts_default_to_everything(tmp_path, contents):
    splits = prepare(tmp_path, contents, {"name": "mnist"}).record["splits"]
    assert {split: entry["count"] for split, entry in splits.items()} == {"train": 30, "test": 12, "evaluation": 12}


def test_record_keeps_the_checksums_of_the_files(tmp_path, contents):
    sources = prepare(tmp_path, contents).record["sources"]
    for name in contents:
        found = hashlib.sha256((tmp_path / "mnist" / name).read_bytes()).hexdigest()
        assert sources[name]["sha256"] == found


@pytest.mark.parametrize("shape", [(3, 28, 28), (5,), (2, 3)])
def test_idx_files_are_read_as_torchvision_reads_them(tmp_path, shape):
    array = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    (tmp_path / "plain").write_bytes(idx(array))
    (tmp_path / "packed.gz").write_bytes(gzip.compress(idx(array), mtime=0))
    found = mnist.read_idx(tmp_path / "packed.gz")
    assert found.dtype == np.uint8
    assert np.array_equal(found, read_sn3_pascalvincent_tensor(str(tmp_path / "plain")).numpy())
    assert np.array_equal(found, array)


def flipped(content, place):
    return content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :]


PACKED = gzip.compress(idx(np.random.default_rng(1).integers(0, 256, (12, 28, 28), dtype=np.uint8)), mtime=0)


@pytest.mark.parametrize(
    ("damaged", "why"),
    [
        (PACKED[:-3000], "ended before"),
        (PACKED[:-4], "ended before"),
        (flipped(PACKED, len(PACKED) // 2), "CRC|decompressing"),
        (flipped(PACKED, -6), "CRC"),
        (b"<html>not found</html>", "gzipped"),
        (b"", "begins with"),
        (gzip.compress(b"\0\0", mtime=0), "begins with"),
        (gzip.compress(b"\0\0\x0d\x03" + bytes(12), mtime=0), "begins with '00 00 0d 03'"),
        (gzip.compress(b"\1\0\x08\x03" + bytes(12), mtime=0), "begins with '01 00 08 03'"),
        (gzip.compress(b"\0\0\x08\x03\0\0\0\1", mtime=0), "within its header"),
        (gzip.compress(gzip.decompress(PACKED)[:-1], mtime=0), r"9407 bytes .* \(12, 28, 28\)"),
        (gzip.compress(gzip.decompress(PACKED) + b"\0", mtime=0), r"9409 bytes .* \(12, 28, 28\)"),
        (gzip.compress(b"\0\0\x08\x03" + b"\xff" * 12, mtime=0), "0 bytes"),
        (gzip.compress(idx(np.zeros((12, 32, 32), np.uint8)), mtime=0), r"\(12, 32, 32\)"),
        (gzip.compress(idx(np.zeros(12, np.uint8)), mtime=0), r"\(12,\)"),
    ],
)
def test_damaged_image_file_is_named_with_its_cure(tmp_path, contents, damaged, why):
    with pytest.raises(Problem, match=rf"{TEST_IMAGES} is damaged \(.*({why}).*delete it.*official file") as caught:
        prepare(tmp_path, contents, test_images=damaged)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "prepared" / "record.json").exists()


@pytest.mark.parametrize(
    ("labels", "why"),
    [(np.arange(10), "12 images"), (np.array([0] * 11 + [10]), "label 10"), (np.zeros((12, 1)), "12 images")],
)
def test_labels_that_do_not_fit_the_images_are_refused(tmp_path, contents, labels, why):
    with pytest.raises(Problem, match=rf"{TEST_LABELS} is damaged.*{why}"):
        prepare(tmp_path, contents, test_labels=gzip.compress(idx(labels.astype(np.uint8))))


@pytest.mark.parametrize("spec", [{"train_count": 31}, {"evaluation_count": 13}, {"evaluation_count": 0}])
def test_counts_beyond_the_files_are_refused(tmp_path, contents, spec):
    with pytest.raises(Problem, match=f"mnist: {next(iter(spec))}"):
        prepare(tmp_path, contents, {"name": "mnist"} | spec)


def test_file_with_another_checksum_than_the_official_one_is_refused(tmp_path, contents):
    files = {name: gzip.compress(idx(array), mtime=0) for name, array in contents.items()}
    sources_of(tmp_path, files)
    with pytest.raises(Problem, match=rf"mnist/{TRAIN_IMAGES} is not the official file"):
        mnist.prepare(SPEC, tmp_path / "prepared", tmp_path, may_download=False)


def test_missing_file_without_downloads_is_named_with_its_address(tmp_path):
    address = download.source("mnist", TRAIN_IMAGES)["url"]
    with pytest.raises(Problem, match=rf"mnist/{TRAIN_IMAGES} is missing.*{address}"):
        mnist.prepare(SPEC, tmp_path / "prepared", tmp_path, may_download=False)
