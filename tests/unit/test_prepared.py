import hashlib
import io
import json
import tracemalloc

import numpy as np
import pandas as pd
import pytest

from robustloss.data import prepared
from robustloss.errors import Problem

CLASSES = ["Grasper", "Hook", "Bag"]
COUNTS = {"train": 11, "test": 7, "evaluation": 3}


def images_of(split):
    generator = np.random.default_rng(COUNTS[split])
    return generator.integers(0, 256, (COUNTS[split], 4, 5, 3), dtype=np.uint8)


def rows_of(split):
    return [{"video": "07", "second": 2 * i, "class": i % 3} for i in range(COUNTS[split])]


def in_blocks(images):
    for i in range(0, len(images), 4):
        yield images[i : i + 4]


def splits_of(**changed):
    """Three valid splits in blocks of four images, some of them replaced by (images, shape, rows)."""
    whole = {split: (images_of(split), images_of(split).shape, rows_of(split)) for split in COUNTS}
    return {split: (in_blocks(images), shape, rows) for split, (images, shape, rows) in (whole | changed).items()}


def written(directory, sources=None, **changed):
    return prepared.write(directory, {"name": "tools"}, CLASSES, splits_of(**changed), sources or {})


def test_image_files_are_byte_for_byte_what_numpy_saves(tmp_path):
    data = written(tmp_path)
    for split in COUNTS:
        expected = io.BytesIO()
        np.save(expected, images_of(split))
        assert (tmp_path / f"{split}.npy").read_bytes() == expected.getvalue()
        assert data.record["splits"][split]["images_sha256"] == hashlib.sha256(expected.getvalue()).hexdigest()


def test_images_are_mapped_and_changes_never_reach_the_file(tmp_path):
    data = written(tmp_path)
    images = data.images("train")
    assert isinstance(images, np.memmap)
    images[0] = 255 - images[0]
    images.flush()
    assert not np.array_equal(images[0], data.images("train")[0])
    prepared.verify(data.directory)


def test_index_is_what_pandas_reads_and_keeps_leading_zeros(tmp_path):
    data = written(tmp_path)
    for split in COUNTS:
        table = pd.read_csv(tmp_path / f"{split}.csv", dtype={"video": str})
        assert list(data.index(split)) == list(table.columns) == ["video", "second", "class"]
        for name, column in data.index(split).items():
            assert column.tolist() == table[name].tolist()
        assert data.labels(split).dtype == np.int64
        assert data.labels(split).tolist() == [row["class"] for row in rows_of(split)]


def test_record_counts_images_and_classes(tmp_path):
    written(tmp_path, sources={"video 7": "25 fps"})
    record = json.loads((tmp_path / "record.json").read_text())
    assert record["data"] == {"name": "tools"}
    assert record["classes"] == CLASSES
    assert record["image_shape"] == [4, 5, 3]
    assert record["sources"] == {"video 7": "25 fps"}
    assert {split: (entry["count"], entry["class_counts"]) for split, entry in record["splits"].items()} == {
        "train": (11, [4, 4, 3]),
        "test": (7, [3, 2, 2]),
        "evaluation": (3, [1, 1, 1]),
    }
    for split in COUNTS:
        found = hashlib.sha256((tmp_path / f"{split}.csv").read_bytes()).hexdigest()
        assert record["splits"][split]["index_sha256"] == found


def test_digest_follows_pixels_and_labels_but_not_sources(tmp_path):
    digest = written(tmp_path / "a").digest
    assert written(tmp_path / "b", sources={"other": 1}).digest == digest
    images = images_of("test")
    images[6, 3, 4, 2] ^= 1
    assert written(tmp_path / "c", test=(images, images.shape, rows_of("test"))).digest != digest
    rows = rows_of("test")
    rows[0]["class"], rows[1]["class"] = rows[1]["class"], rows[0]["class"]
    assert written(tmp_path / "d", test=(images_of("test"), images.shape, rows)).digest != digest


def test_numpy_integers_in_shape_and_rows_are_taken(tmp_path):
    rows = [row | {"class": np.int64(row["class"])} for row in rows_of("test")]
    data = written(tmp_path, test=(images_of("test"), tuple(np.array([7, 4, 5, 3])), rows))
    assert np.array_equal(data.images("test"), images_of("test"))


def test_memory_holds_blocks_not_the_whole_array(tmp_path):
    shape = (64, 256, 256, 1)
    rows = [{"image": i, "class": i % 3} for i in range(64)]
    splits = {split: ((np.full((1, *shape[1:]), i, np.uint8) for i in range(64)), shape, rows) for split in COUNTS}
    tracemalloc.start()
    try:
        prepared.write(tmp_path, {}, CLASSES, splits, {})
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < np.prod(shape) / 4


BAD_ROWS = [*rows_of("test")[:-1], {"video": "07", "second": 1, "class": 3}]
ODD_ROWS = [*rows_of("test")[:-1], {"video": "07", "class": 0}]
HALF_ROWS = [*rows_of("test")[:-1], {"video": "07", "second": 1, "class": 0.5}]


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"test": (images_of("test").astype(np.int16), (7, 4, 5, 3), rows_of("test"))}, "test.npy.*int16"),
        ({"test": (images_of("test")[:, :3], (7, 4, 5, 3), rows_of("test"))}, "test.npy"),
        ({"test": (images_of("test")[:6], (7, 4, 5, 3), rows_of("test"))}, "test.npy: only 6 of 7"),
        ({"test": (images_of("train")[:8], (7, 4, 5, 3), rows_of("test"))}, "test.npy.*image 8"),
        ({"test": (images_of("test"), (7, 4, 5, 3), rows_of("test")[:6])}, "test has 7 images and 6 index rows"),
        ({"test": (images_of("test")[:0], (0, 4, 5, 3), [])}, "test has 0 images"),
        ({"test": (images_of("test"), (7, 4, 5, 3), BAD_ROWS)}, "row 6 of test has class 3.*0 to 2"),
        ({"test": (images_of("test"), (7, 4, 5, 3), ODD_ROWS)}, "row 6 of test has other columns"),
        ({"test": (images_of("test"), (7, 4, 5, 3), HALF_ROWS)}, "row 6 of test has class 0.5"),
        ({"test": (images_of("test")[:, :3], (7, 3, 5, 3), rows_of("test"))}, "one common shape"),
        ({split: ([], (3, 10**8, 10**8, 3), rows_of("evaluation")) for split in COUNTS}, "GB free"),
        ({"holdout": (images_of("test"), (7, 4, 5, 3), rows_of("test"))}, "holdout"),
    ],
)
def test_disagreements_are_refused_and_leave_no_record(tmp_path, changed, sentence):
    with pytest.raises(Problem, match=sentence):
        written(tmp_path, **changed)
    assert not (tmp_path / "record.json").exists()
    assert not (tmp_path / "test.npy").exists()
    assert not list(tmp_path.glob(".*"))


def test_class_that_train_lacks_is_refused_by_name_before_anything_is_decoded(tmp_path):
    def never():
        raise AssertionError("decoded")
        yield

    rows = [{"video": "07", "second": i, "class": i % 2} for i in range(11)]
    splits = splits_of() | {"train": (never(), (11, 4, 5, 3), rows)}
    with pytest.raises(Problem, match=r"train shows 'Bag'.*add videos or images"):
        prepared.write(tmp_path, {}, CLASSES, splits, {})


def test_class_that_only_evaluation_lacks_is_said(tmp_path, capsys):
    rows = [{"video": "07", "second": i, "class": 0} for i in range(3)]
    data = written(tmp_path, evaluation=(images_of("evaluation"), (3, 4, 5, 3), rows))
    assert data.record["splits"]["evaluation"]["class_counts"] == [3, 0, 0]
    assert "no image of evaluation shows 'Hook', 'Bag'" in capsys.readouterr().err


def test_failure_in_the_middle_leaves_no_record_even_of_an_older_data_set(tmp_path):
    written(tmp_path)
    with pytest.raises(Problem, match=r"only 6 of 7"):
        written(tmp_path, test=(images_of("test")[:6], (7, 4, 5, 3), rows_of("test")))
    with pytest.raises(Problem, match=r"no whole data set.*prepare it again"):
        prepared.load(tmp_path)


def save(array):
    return lambda path: np.save(path, array, allow_pickle=True)


def save_archive(path):
    with open(path, "wb") as stream:
        np.savez(stream, images_of("train"))


def edit(change):
    return lambda path: path.write_bytes(change(path.read_bytes()))


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("train.npy", lambda path: path.unlink()),
        ("train.npy", edit(lambda content: b"")),
        ("train.npy", edit(lambda content: content[:100])),
        ("train.npy", edit(lambda content: content[:-1])),
        ("train.npy", edit(lambda content: content + b"\0")),
        ("train.npy", save(images_of("train")[:-1])),
        ("train.npy", save(images_of("train").astype(np.int8))),
        ("train.npy", save(images_of("train").reshape(11, 5, 4, 3))),
        ("train.npy", save(np.array([{}] * 11))),
        ("train.npy", save_archive),
        ("test.csv", lambda path: path.unlink()),
        ("test.csv", edit(lambda content: b"")),
        ("test.csv", edit(lambda content: content[: content.rindex(b"\n", 0, -1) + 1])),
        ("test.csv", edit(lambda content: content[:-3])),
        ("test.csv", edit(lambda content: content[:-2] + b"9\n")),
        ("test.csv", edit(lambda content: content[:-2] + b"x\n")),
        ("test.csv", edit(lambda content: content.replace(b"class", b"klass"))),
        ("test.csv", edit(lambda content: b"\xff" + content)),
        ("record.json", lambda path: path.unlink()),
        ("record.json", edit(lambda content: content[:50])),
        ("record.json", edit(lambda content: b"[]")),
        ("record.json", edit(lambda content: content.replace(b'"count"', b'"number"'))),
        ("record.json", edit(lambda content: content.replace(b'"digest": "', b'"digest": "0'))),
    ],
)
def test_damage_is_refused_when_loading_with_the_name_of_the_file(tmp_path, name, damage):
    written(tmp_path)
    damage(tmp_path / name)
    with pytest.raises(Problem, match=rf"{name}.*again"):
        prepared.load(tmp_path)


def test_verify_passes_what_was_written_and_names_a_file_with_one_changed_bit(tmp_path):
    written(tmp_path)
    prepared.verify(tmp_path)
    content = bytearray((tmp_path / "test.npy").read_bytes())
    content[-1] ^= 1
    (tmp_path / "test.npy").write_bytes(content)
    prepared.load(tmp_path)
    with pytest.raises(Problem, match=r"test\.npy"):
        prepared.verify(tmp_path)


def test_verify_notices_swapped_labels(tmp_path):
    written(tmp_path)
    lines = (tmp_path / "evaluation.csv").read_text().splitlines()
    (tmp_path / "evaluation.csv").write_text("\n".join([lines[0], *lines[:0:-1]]) + "\n")
    prepared.load(tmp_path)
    with pytest.raises(Problem, match=r"evaluation\.csv"):
        prepared.verify(tmp_path)


@pytest.mark.parametrize("count", [0, -1, 11, 2.5, "5", True])
def test_chosen_count_refuses_what_is_not_between_one_and_all(count):
    with pytest.raises(Problem, match=r"mnist: train_count is .* from 1 to 10"):
        prepared.chosen_count({"name": "mnist", "train_count": count}, "train_count", 10)


def test_chosen_count_defaults_to_all():
    assert prepared.chosen_count({}, "train_count", 10) == 10
    assert prepared.chosen_count({"train_count": 4}, "train_count", 10) == 4
