"""CIFAR-10 (Krizhevsky, 2009): 32 × 32 colour photographs of 10 classes, 50,000 for training and 10,000 for testing."""

from pathlib import Path

from robustloss.data import cifar_records, prepared

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
LAYOUT = cifar_records.Layout(
    name="cifar10",
    archive="cifar-10-binary.tar.gz",
    folder="cifar-10-batches-bin",
    train={f"data_batch_{number}.bin": 10_000 for number in range(1, 6)},
    test={"test_batch.bin": 10_000},
    labels={"class": CLASSES},
)


def prepare(
    spec: dict, directory: str | Path, raw: str | Path, may_download: bool, source: dict | None = None
) -> prepared.Prepared:
    """Prepare the binary version in `raw`/cifar10, or its archive there, downloaded if absent, as uint8 (n, 32, 32, 3).

    `spec`: `train_count` (first images of the five training files, one after the other), `evaluation_count` (first
    images of the test file), both all by default, and `test_file` (default test_batch.bin): another file of records,
    for a machine that has only a part of the test set, or one that is such a part: test_batch_first1000.bin. `source`
    is the archive's row, data/sources.csv's if not given. Raises Problem naming the file that is missing, damaged or
    not the official one.
    """
    return cifar_records.prepare(spec, directory, raw, may_download, LAYOUT, source)
