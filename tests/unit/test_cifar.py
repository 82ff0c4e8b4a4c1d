import functools
import hashlib
import http.server
import io
import pickle
import tarfile
import threading

import numpy as np
import pytest
import torchvision

from robustloss import schemas
from robustloss.data import cifar10, cifar100, download
from robustloss.errors import Problem

TRAIN = [f"data_batch_{number}.bin" for number in range(1, 6)]
SPEC = {"name": "cifar10", "train_count": 20, "evaluation_count": 4}


def records(images, *labels):
    """The images, uint8 (count, 32, 32, 3), in the official record format, put together byte by byte."""
    parts = []
    for image, *own in zip(images, *labels, strict=True):
        parts += [bytes(own), *(image[:, :, plane].tobytes() for plane in range(3))]
    return b"".join(parts)


def drawn(count, seed, *class_counts):
    """Random images and labels in which every class of every kind occurs in turn."""
    images = np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    return images, *((np.arange(count) * 7 % classes).astype(np.uint8) for classes in class_counts)


@pytest.fixture
def ten():
    """Five training files of six images each and a test file of eight, as (images, labels)."""
    return {name: drawn(6 if name in TRAIN else 8, seed, 10) for seed, name in enumerate([*TRAIN, "test_batch.bin"])}


@pytest.fixture
def labelled(ten):
    """The same with training labels that show all ten classes."""
    labels = (np.arange(30) * 3 % 10).astype(np.uint8).reshape(5, 6)
    return ten | {name: (ten[name][0], labels[number]) for number, name in enumerate(TRAIN)}


def put(folder, contents):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else records(*content))


def archived(members, cut=0):
    """A .tar.gz of {name: bytes}, less its last `cut` bytes."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()[: len(stream.getvalue()) - cut]


def source_of(content, url="https://example.org/cifar.tar.gz", file="cifar-10-binary.tar.gz"):
    return {"file": file, "url": url, "md5": hashlib.md5(content).hexdigest(), "sha256": ""}


def prepare(folder, spec=SPEC, may_download=False, source=None):
    return cifar10.prepare(spec, folder / "prepared", folder, may_download, source)


def prepare_archive(folder, content):
    put(folder / "cifar10", {"cifar-10-binary.tar.gz": content})
    return prepare(folder, source=source_of(content))


def within(contents):
    return {f"cifar-10-batches-bin/{name}": records(*content) for name, content in contents.items()}


def expected_of(contents):
    images = np.concatenate([contents[name][0] for name in TRAIN])
    labels = np.concatenate([contents[name][1] for name in TRAIN])
    test_images, test_labels = contents["test_batch.bin"]
    return {
        "train": (images[:20], labels[:20]),
        "test": (test_images, test_labels),
        "evaluation": (test_images[:4], test_labels[:4]),
    }


def assert_prepared(data, expected):
    for split, (images, labels) in expected.items():
        assert np.array_equal(data.images(split), images)
        assert data.labels(split).tolist() == labels.tolist()
        assert data.index(split)["image"].tolist() == list(range(len(images)))


@pytest.mark.parametrize("folder", ["cifar10", "cifar10/cifar-10-batches-bin"])
def test_images_and_labels_are_those_of_the_files(tmp_path, labelled, folder):
    put(tmp_path / folder, labelled)
    data = prepare(tmp_path)
    assert_prepared(data, expected_of(labelled))
    assert data.classes[0] == "airplane" and data.classes[9] == "truck"


def test_a_pixel_lies_where_the_format_has_it(tmp_path, labelled):
    put(tmp_path / "cifar10", labelled)
    content = bytearray(records(*labelled["test_batch.bin"]))
    row, column, channel = 5, 17, 2
    content[3 * 3073 + 1 + channel * 1024 + row * 32 + column] ^= 0xFF
    before = np.array(prepare(tmp_path).images("test"))
    put(tmp_path / "cifar10", {"test_batch.bin": bytes(content)})
    assert np.argwhere(prepare(tmp_path).images("test") != before).tolist() == [[3, row, column, channel]]


def test_more_images_than_one_block_keep_their_order(tmp_path, labelled):
    images, labels = drawn(2345, 9, 10)
    put(tmp_path / "cifar10", labelled | {"data_batch_3.bin": (images, labels)})
    data = prepare(tmp_path, {"name": "cifar10", "train_count": 12 + 2222})
    assert np.array_equal(data.images("train")[12:], images[:2222])
    assert data.labels("train")[12:].tolist() == labels[:2222].tolist()


def python_version(folder, name, content, keys):
    """What torchvision reads: a pickled dictionary of planes and labels, written to match the same images."""
    images, *labels = content
    planes = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    folder.mkdir(parents=True, exist_ok=True)
    batch = {"data": planes} | dict(zip(keys, (own.tolist() for own in labels), strict=True))
    (folder / name).write_bytes(pickle.dumps(batch))


def without_checksums(dataset):
    lists = {key: [[name, None] for name, _ in getattr(dataset, key)] for key in ("train_list", "test_list")}
    return type("Unchecked", (dataset,), lists | {"meta": dataset.meta | {"md5": None}})


def test_ten_classes_are_read_as_torchvision_reads_the_python_version(tmp_path, labelled):
    for name, content in labelled.items():
        python_version(tmp_path / "cifar-10-batches-py", name.removesuffix(".bin"), content, ["labels"])
    names = {"label_names": cifar10.CLASSES}
    (tmp_path / "cifar-10-batches-py" / "batches.meta").write_bytes(pickle.dumps(names))

    unchecked = without_checksums(torchvision.datasets.CIFAR10)
    put(tmp_path / "cifar10", labelled)
    data = prepare(tmp_path, {"name": "cifar10"})
    for split in ("train", "test"):
        theirs = unchecked(tmp_path, train=split == "train")
        assert np.array_equal(data.images(split), theirs.data)
        assert data.labels(split).tolist() == theirs.targets


def test_hundred_classes_are_read_as_torchvision_reads_the_python_version(tmp_path):
    contents = {"train": drawn(100, 1, 20, 100), "test": drawn(30, 2, 20, 100)}
    for name, content in contents.items():
        python_version(tmp_path / "cifar-100-python", name, content, ["coarse_labels", "fine_labels"])
    names = {"fine_label_names": cifar100.LAYOUT.labels["class"]}
    (tmp_path / "cifar-100-python" / "meta").write_bytes(pickle.dumps(names))

    unchecked = without_checksums(torchvision.datasets.CIFAR100)
    put(tmp_path / "cifar100", {f"{name}.bin": content for name, content in contents.items()})
    data = cifar100.prepare({"name": "cifar100", "evaluation_count": 7}, tmp_path / "prepared", tmp_path, False)
    for split in ("train", "test"):
        theirs = unchecked(tmp_path, train=split == "train")
        assert np.array_equal(data.images(split), theirs.data)
        assert data.labels(split).tolist() == theirs.targets
        assert data.index(split)["coarse"].tolist() == contents[split][1].tolist()
    assert len(data.labels("evaluation")) == 7
    assert data.record["sources"]["coarse"][17] == "trees"


def test_names_of_the_hundred_classes_are_in_the_publisher_s_order():
    fine, coarse = cifar100.LAYOUT.labels["class"], cifar100.LAYOUT.labels["coarse"]
    # The publisher's lists are alphabetical, and both labels count from 0.
    assert (len(set(fine)), len(set(coarse))) == (100, 20)
    assert fine == sorted(fine) and coarse == sorted(coarse)
    assert (fine[19], fine[47], fine[99], coarse[0], coarse[19]) == (
        "cattle",
        "maple_tree",
        "worm",
        "aquatic_mammals",
        "vehicles_2",
    )


def test_a_part_of_the_test_set_may_stand_in_and_the_record_says_so(tmp_path, labelled, capsys):
    images, labels = labelled.pop("test_batch.bin")
    put(tmp_path / "cifar10", labelled | {"test_batch_first5.bin": (images[:5], labels[:5])})
    data = prepare(tmp_path, SPEC | {"test_file": "test_batch_first5.bin"})
    assert np.array_equal(data.images("test"), images[:5])
    assert (
        "test_batch_first5.bin (5 images) stands in for the official test_batch.bin" in data.record["sources"]["test"]
    )
    assert "stands in for" in capsys.readouterr().err


def test_the_first_records_are_cut_from_the_whole_file_where_theirs_is_missing(tmp_path, labelled):
    spec = SPEC | {"test_file": "test_batch_first5.bin"}
    images, labels = labelled["test_batch.bin"]
    put(tmp_path / "file" / "cifar10", labelled | {"test_batch_first5.bin": (images[:5], labels[:5])})
    put(tmp_path / "whole" / "cifar10", labelled)
    with_file, without = (
        cifar10.prepare(spec, tmp_path / of / "prepared", tmp_path / of, False) for of in ("file", "whole")
    )
    assert np.array_equal(without.images("test"), images[:5])
    assert without.record["sources"] == with_file.record["sources"]
    assert without.digest == with_file.digest
    assert not list((tmp_path / "whole").rglob("*first5*"))
    # The archive, too, has the whole file alone.
    packed = tmp_path / "packed"
    content = archived(within(labelled))
    put(packed / "cifar10", {"cifar-10-binary.tar.gz": content})
    assert cifar10.prepare(spec, packed / "prepared", packed, False, source_of(content)).digest == without.digest


def test_more_first_records_than_there_are_is_refused(tmp_path, labelled):
    put(tmp_path / "cifar10", labelled)
    why = r"test_batch.bin has \d+ records, too few for test_file test_batch_first500.bin: change the number"
    with pytest.raises(Problem, match=why):
        prepare(tmp_path, SPEC | {"test_file": "test_batch_first500.bin"})


def test_record_says_how_many_images_each_file_had(tmp_path, labelled, capsys):
    put(tmp_path / "cifar10", labelled)
    sources = prepare(tmp_path).record["sources"]
    assert "test" not in sources
    for name, content in labelled.items():
        expected = {"images": len(content[0]), "sha256": hashlib.sha256(records(*content)).hexdigest()}
        assert sources["files"][name] == expected
    assert "data_batch_1.bin holds 6 images, the official file 10000" in capsys.readouterr().err


def test_archive_is_unpacked_into_its_folder_and_nothing_else_remains(tmp_path, labelled):
    content = archived(within(labelled) | {"cifar-10-batches-bin/readme.html": b"<html>"})
    assert_prepared(prepare_archive(tmp_path, content), expected_of(labelled))
    assert {path.name for path in (tmp_path / "cifar10").iterdir()} == {
        "cifar-10-binary.tar.gz",
        "cifar-10-batches-bin",
    }
    assert {path.name for path in (tmp_path / "cifar10/cifar-10-batches-bin").iterdir()} == set(labelled)


def test_archive_is_not_needed_again_once_it_was_unpacked(tmp_path, labelled):
    prepare_archive(tmp_path, archived(within(labelled)))
    (tmp_path / "cifar10" / "cifar-10-binary.tar.gz").unlink()
    assert_prepared(prepare(tmp_path), expected_of(labelled))


def test_archive_is_downloaded_where_that_is_allowed(tmp_path, labelled, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    content = archived(within(labelled))
    put(tmp_path / "web", {"cifar.tar.gz": content})

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=tmp_path / "web")) as web:
        threading.Thread(target=web.serve_forever, args=(0.01,), daemon=True).start()
        source = source_of(content, f"http://127.0.0.1:{web.server_port}/cifar.tar.gz")
        data = prepare(tmp_path, may_download=True, source=source)
        web.shutdown()
    assert_prepared(data, expected_of(labelled))


def test_archive_with_another_checksum_is_refused(tmp_path, labelled):
    put(tmp_path / "cifar10", {"cifar-10-binary.tar.gz": archived(within(labelled))})
    with pytest.raises(Problem, match=r"cifar-10-binary.tar.gz is not the official file"):
        prepare(tmp_path)


@pytest.mark.parametrize("cut", [2000, 60000])
def test_damaged_archive_is_named_and_leaves_no_files(tmp_path, labelled, cut):
    with pytest.raises(Problem, match=r"cifar-10-binary.tar.gz is damaged \(.+\): delete it") as caught:
        prepare_archive(tmp_path, archived(within(labelled), cut))
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "cifar10").rglob("*.bin"))


@pytest.mark.parametrize("content", [b"<html>not found</html>", b"", bytes(5000)])
def test_file_that_is_no_archive_is_named(tmp_path, content):
    with pytest.raises(Problem, match=r"cifar-10-binary.tar.gz is damaged \(.+\): delete it"):
        prepare_archive(tmp_path, content)


@pytest.mark.parametrize("name", ["../escaped.bin", "cifar-10-batches-bin/../../../escaped.bin"])
def test_archive_that_would_leave_its_folder_is_refused(tmp_path, labelled, name):
    with pytest.raises(Problem, match=r"is damaged \(.*escaped.bin.* outside the destination"):
        prepare_archive(tmp_path, archived({name: b"x"} | within(labelled)))
    assert not list(tmp_path.rglob("escaped.bin"))


def test_archive_that_links_elsewhere_is_refused(tmp_path):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        link = tarfile.TarInfo("cifar-10-batches-bin")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        archive.addfile(link)
    with pytest.raises(Problem, match="is damaged"):
        prepare_archive(tmp_path, stream.getvalue())


def test_archive_that_lacks_a_file_is_refused(tmp_path, labelled):
    del labelled["data_batch_4.bin"]
    with pytest.raises(Problem, match=r"it holds no cifar-10-batches-bin/data_batch_4.bin"):
        prepare_archive(tmp_path, archived(within(labelled)))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda content: content[:-1], r"its 24583 bytes are not whole records of 3073 bytes"),
        (lambda content: content + b"\0", "its 24585 bytes"),
        (lambda content: b"", "its 0 bytes"),
        (lambda content: content[:3073] + b"\x0a" + content[3074:], "record 1 has the class 10, .* from 0 to 9"),
        (lambda content: b"\xff" + content[1:], "record 0 has the class 255"),
    ],
    ids=["too short", "too long", "empty", "label 10", "label 255"],
)
def test_damaged_records_are_named(tmp_path, labelled, change, why):
    put(tmp_path / "cifar10", labelled | {"test_batch.bin": change(records(*labelled["test_batch.bin"]))})
    with pytest.raises(Problem, match=rf"cifar10/test_batch.bin is damaged \({why}.*delete it") as caught:
        prepare(tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "prepared").exists()


@pytest.mark.parametrize(("coarse", "fine", "why"), [(20, 0, "coarse 20"), (0, 100, "class 100")])
def test_labels_of_the_hundred_classes_are_checked(tmp_path, coarse, fine, why):
    images = np.zeros((1, 32, 32, 3), np.uint8)
    put(tmp_path / "cifar100", {"train.bin": (images, [coarse], [fine]), "test.bin": (images, [0], [0])})
    with pytest.raises(Problem, match=f"train.bin is damaged .*record 0 has the {why}"):
        cifar100.prepare({"name": "cifar100"}, tmp_path / "prepared", tmp_path, False)


@pytest.mark.parametrize("missing", ["data_batch_2.bin", "test_batch.bin"])
def test_missing_file_is_named_with_the_ways_out(tmp_path, labelled, missing):
    del labelled[missing]
    put(tmp_path / "cifar10", labelled)
    address = download.source("cifar10", "cifar-10-binary.tar.gz")["url"]
    with pytest.raises(Problem, match=rf"cifar10/{missing} is missing.*{address}.*download: true"):
        prepare(tmp_path)


def test_missing_test_file_of_one_s_own_is_named_before_any_download(tmp_path):
    for name in ("mine.bin", "mine_first5.bin"):
        with pytest.raises(Problem, match=rf"cifar10/{name} is missing: put it there or take test_file out"):
            prepare(tmp_path, SPEC | {"test_file": name}, may_download=True)


@pytest.mark.parametrize(
    ("name", "why"), [("../test_batch.bin", "name of a file"), (7, "name of a file"), (TRAIN[0], "training images")]
)
def test_unusable_test_file_is_refused(tmp_path, labelled, name, why):
    put(tmp_path / "cifar10", labelled)
    with pytest.raises(Problem, match=f"test_file is .*{why}"):
        prepare(tmp_path, SPEC | {"test_file": name})


@pytest.mark.parametrize("spec", [{"train_count": 31}, {"evaluation_count": 9}, {"evaluation_count": 0}])
def test_counts_beyond_the_files_are_refused(tmp_path, labelled, spec):
    put(tmp_path / "cifar10", labelled)
    with pytest.raises(Problem, match=f"cifar10: {next(iter(spec))}"):
        prepare(tmp_path, {"name": "cifar10"} | spec)


def test_class_that_training_would_never_see_is_refused(tmp_path, ten):
    put(tmp_path / "cifar10", ten | {name: (ten[name][0], np.zeros(6, np.uint8)) for name in TRAIN})
    with pytest.raises(Problem, match="no image of train shows 'automobile'"):
        prepare(tmp_path)


def test_sources_lie_beside_the_python_version_that_torchvision_downloads():
    for layout, theirs in (
        (cifar10.LAYOUT, torchvision.datasets.CIFAR10),
        (cifar100.LAYOUT, torchvision.datasets.CIFAR100),
    ):
        assert download.source(layout.name, layout.archive)["url"] == theirs.url.replace("python", "binary")


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_settings_are_checked_by_the_schema(name):
    spec = {"name": name, "train_count": 50000, "evaluation_count": 10000}
    schemas.check(spec, "paper", "here", part="data")
    with pytest.raises(Problem, match=r"unknown key 'train_cout'; did you mean 'train_count'"):
        schemas.check(spec | {"train_cout": 1}, "paper", "here", part="data")
    with pytest.raises(Problem, match=r"here: evaluation_count: 10001"):
        schemas.check(spec | {"evaluation_count": 10001}, "paper", "here", part="data")
    with pytest.raises(Problem, match="the key 'train_count' is missing"):
        schemas.check({"name": name, "evaluation_count": 1}, "paper", "here", part="data")


def test_test_file_is_a_setting_of_the_ten_classes_only():
    spec = {"name": "cifar10", "train_count": 50000, "evaluation_count": 10, "test_file": "test_batch_first1000.bin"}
    schemas.check(spec, "paper", "here", part="data")
    for wrong in ("../test.bin", "test", 3):
        with pytest.raises(Problem, match=r"test_file: .* is not the name of a .bin file"):
            schemas.check(spec | {"test_file": wrong}, "paper", "here", part="data")
    with pytest.raises(Problem, match="unknown key 'test_file'"):
        schemas.check(spec | {"name": "cifar100"}, "paper", "here", part="data")
