import shutil

import numpy as np
import pytest
import torchvision
from PIL import Image

from robustloss import schemas
from robustloss.data import tiny_imagenet_200
from robustloss.errors import Problem

# Neither alphabetical nor in the order of words.txt.
WNIDS = ["n02124075", "n01443537", "n04067472"]
WORDS = {
    "n01443537": "goldfish, Carassius auratus",
    "n02084071": "dog, domestic dog, Canis familiaris",
    "n02124075": "Egyptian cat",
    "n04067472": "reel",
}
TRAIN_COUNTS = {"n02124075": 12, "n01443537": 3, "n04067472": 5}
VALIDATION = ["n04067472", "n01443537", "n01443537", "n02124075", "n04067472"]
SPEC = {"name": "tiny-imagenet-200"}


def save(path, generator, grey=False, size=64):
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = generator.integers(0, 256, (4, 4) if grey else (4, 4, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((size, size)).save(path, "JPEG", quality=90)


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    root = tmp_path_factory.mktemp("raw")
    folder, generator = root / "tiny-imagenet-200", np.random.default_rng(5)
    for wnid, count in TRAIN_COUNTS.items():
        for number in range(count):
            save(folder / "train" / wnid / "images" / f"{wnid}_{number}.JPEG", generator, grey=number == 2)
        (folder / "train" / wnid / f"{wnid}_boxes.txt").write_text("")
    for number in range(len(VALIDATION)):
        save(folder / "val" / "images" / f"val_{number}.JPEG", generator, grey=number == 1)
    lines = [f"val_{number}.JPEG\t{wnid}\t0\t32\t44\t62\n" for number, wnid in enumerate(VALIDATION)]
    (folder / "val" / "val_annotations.txt").write_text("".join(lines))
    (folder / "wnids.txt").write_text("\n".join(WNIDS))
    (folder / "words.txt").write_text("".join(f"{wnid}\t{words}\n" for wnid, words in WORDS.items()))
    return root


@pytest.fixture
def raw(tmp_path, template):
    """A folder with a small data set in the official layout, which the test may damage."""
    shutil.copytree(template, tmp_path / "raw")
    return tmp_path / "raw"


def prepare(raw, spec=SPEC):
    return tiny_imagenet_200.prepare(spec, raw.parent / "prepared", raw, may_download=True)


def refused(raw, spec=SPEC):
    with pytest.raises(Problem) as caught:
        prepare(raw, spec)
    assert "\n" not in str(caught.value)
    assert not (raw.parent / "prepared" / "record.json").exists()
    return str(caught.value)


def test_training_images_are_those_that_torchvision_finds(raw):
    data = prepare(raw)
    theirs = torchvision.datasets.ImageFolder(raw / "tiny-imagenet-200" / "train")
    expected = {path.rsplit("/", 1)[1]: (np.asarray(theirs.loader(path)), label) for path, label in theirs.samples}
    assert data.images("train").shape == (len(expected), 64, 64, 3)
    names = data.index("train")["image"].tolist()
    assert sorted(names) == sorted(expected)
    for image, name, label in zip(data.images("train"), names, data.labels("train"), strict=True):
        assert np.array_equal(image, expected[name][0])
        assert WNIDS[label] == theirs.classes[expected[name][1]]


def test_test_images_are_the_validation_set_in_the_order_of_its_annotations(raw):
    data = prepare(raw)
    assert [WNIDS[label] for label in data.labels("test")] == VALIDATION
    assert data.index("test")["image"].tolist() == [f"val_{number}.JPEG" for number in range(5)]
    for number, image in enumerate(data.images("test")):
        with Image.open(raw / "tiny-imagenet-200/val/images" / f"val_{number}.JPEG") as theirs:
            assert np.array_equal(image, np.asarray(theirs.convert("RGB")))
    assert "validation set" in data.record["sources"]["test"]


def test_grey_images_have_three_equal_channels(raw):
    image = prepare(raw).images("test")[1]
    with Image.open(raw / "tiny-imagenet-200/val/images/val_1.JPEG") as theirs:
        assert theirs.mode == "L"
        assert np.array_equal(image, np.repeat(np.asarray(theirs)[:, :, None], 3, axis=2))


def test_classes_are_in_the_order_of_wnids_with_their_names(raw):
    data = prepare(raw)
    assert data.classes == ["Egyptian cat", "goldfish, Carassius auratus", "reel"]
    assert data.record["sources"]["wnids"] == WNIDS


def test_first_training_images_show_the_classes_in_turns(raw):
    data = prepare(raw, SPEC | {"train_count": 13, "evaluation_count": 2})
    numbers = [name.removesuffix(".JPEG").split("_") for name in data.index("train")["image"]]
    turns = [(WNIDS.index(wnid), int(number)) for wnid, number in numbers]
    assert turns == [*((c, n) for n in range(3) for c in range(3)), (0, 3), (2, 3), (0, 4), (2, 4)]
    assert data.index("evaluation")["image"].tolist() == ["val_0.JPEG", "val_1.JPEG"]


def test_images_beyond_one_block_keep_their_order(raw, monkeypatch):
    whole = np.array(prepare(raw).images("train"))
    monkeypatch.setattr(tiny_imagenet_200, "BLOCK", 7)
    assert np.array_equal(prepare(raw).images("train"), whole)


def test_other_counts_per_class_are_only_said(raw, capsys):
    prepare(raw)
    said = capsys.readouterr().err
    assert "3 classes do not have the official 500 training images: n02124075 (12), n01443537 (3)" in said


@pytest.mark.parametrize(
    "missing",
    ["", "wnids.txt", "words.txt", "train", "train/n04067472/images", "val", "val/val_annotations.txt"],
)
def test_missing_part_is_named_with_where_to_get_it(raw, missing):
    path = raw / "tiny-imagenet-200" / missing
    path.unlink() if path.is_file() else shutil.rmtree(path)
    sentence = refused(raw)
    assert str(path) in sentence and "is missing" in sentence
    for part in (tiny_imagenet_200.URL, "train/<wnid>/images/", "val_annotations.txt"):
        assert part in sentence


@pytest.mark.parametrize(
    ("file", "old", "new", "why"),
    [
        ("val/val_annotations.txt", "n02124075", "n09999999", "line 4 gives val_3.JPEG the class 'n09999999'"),
        ("val/val_annotations.txt", "\tn02124075", "", "line 4 gives val_3.JPEG the class '0'"),
        ("val/val_annotations.txt", "val_3", "val_2", "line 4 names val_2.JPEG a second time"),
        ("val/val_annotations.txt", "val_3.JPEG", "../../words.txt", "val/images/../../words.txt is missing, but"),
        ("val/val_annotations.txt", "val_3.JPEG", "val_33.JPEG", "val/images/val_33.JPEG is missing, but"),
        ("wnids.txt", "n01443537", "../val", "line 2 is '../val', which is no WordNet id"),
        ("wnids.txt", "n01443537", "n02124075", "line 2 is 'n02124075', which is no WordNet id or is there twice"),
        ("words.txt", "n01443537", "n01443538", "does not name n01443537"),
    ],
)
def test_lists_that_disagree_are_refused(raw, file, old, new, why):
    path = raw / "tiny-imagenet-200" / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    assert why in refused(raw)


def test_annotations_that_end_early_are_refused(raw):
    path = raw / "tiny-imagenet-200/val/val_annotations.txt"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:3]))
    assert "does not name val_3.JPEG" in refused(raw)


@pytest.mark.parametrize("file", ["wnids.txt", "val/val_annotations.txt"])
def test_empty_list_is_refused(raw, file):
    (raw / "tiny-imagenet-200" / file).write_text("")
    sentence = refused(raw)
    assert file in sentence and "is damaged" in sentence


def test_missing_validation_image_is_named(raw):
    (raw / "tiny-imagenet-200/val/images/val_4.JPEG").unlink()
    assert "val/images/val_4.JPEG is missing, but val_annotations.txt names it" in refused(raw)


@pytest.mark.parametrize(("part", "first"), [("train", "n02124075_0.JPEG"), ("val", "val_0.JPEG")])
def test_folders_without_any_image_are_refused(raw, part, first):
    for path in (raw / "tiny-imagenet-200" / part).rglob("*.JPEG"):
        path.unlink()
    assert f"images/{first} is missing: get {tiny_imagenet_200.URL}" in refused(raw)


def test_class_without_a_training_image_is_refused_by_name(raw):
    for path in (raw / "tiny-imagenet-200/train/n04067472/images").iterdir():
        path.unlink()
    assert "no image of train shows 'reel'" in refused(raw)


TRAIN_IMAGE = "train/n01443537/images/n01443537_1.JPEG"


@pytest.mark.parametrize("image", [TRAIN_IMAGE, "val/images/val_3.JPEG"])
@pytest.mark.parametrize(
    "change",
    [lambda content: content[: len(content) // 2], lambda content: b"", lambda content: b"<html>not found</html>"],
    ids=["truncated", "empty", "html"],
)
def test_image_that_cannot_be_read_is_named(raw, image, change):
    path = raw / "tiny-imagenet-200" / image
    path.write_bytes(change(path.read_bytes()))
    sentence = refused(raw)
    assert f"{path} is damaged (it cannot be read as JPEG" in sentence


def test_image_of_another_size_is_named(raw):
    path = raw / "tiny-imagenet-200" / TRAIN_IMAGE
    save(path, np.random.default_rng(0), size=32)
    assert f"{path} is damaged (its size is 32 x 32 instead of 64 x 64)" in refused(raw)


def test_image_in_another_format_is_refused(raw):
    path = raw / "tiny-imagenet-200" / TRAIN_IMAGE
    Image.new("RGB", (64, 64)).save(path, "PNG")
    assert f"{path} is damaged (it cannot be read as JPEG" in refused(raw)


@pytest.mark.parametrize("spec", [{"train_count": 21}, {"evaluation_count": 6}, {"evaluation_count": 0}])
def test_counts_beyond_the_files_are_refused(raw, spec):
    assert f"tiny-imagenet-200: {next(iter(spec))}" in refused(raw, SPEC | spec)


def test_settings_are_checked_by_the_schema():
    spec = SPEC | {"train_count": 100000, "evaluation_count": 10000}
    schemas.check(spec, "paper", "here", part="data")
    for wrong, sentence in (
        ({"image_size": 64}, "unknown key 'image_size'"),
        ({"train_count": 100001}, "train_count: 100001"),
        ({"name": "tiny-imagenet"}, "name: 'tiny-imagenet' is not cholec80, .* or tiny-imagenet-200"),
    ):
        with pytest.raises(Problem, match=sentence):
            schemas.check(spec | wrong, "paper", "here", part="data")
