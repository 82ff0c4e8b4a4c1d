import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier
from torch import from_numpy
from torch.nn.functional import interpolate

from robustloss.data import digits
from robustloss.errors import Problem


def test_every_digit_lands_in_one_split_with_its_own_image_and_label(tmp_path):
    data = digits.prepare({"name": "digits", "train_count": 1200}, tmp_path)
    original = load_digits()
    assert sorted([*data.index("train")["image"], *data.index("test")["image"]]) == list(range(1797))
    for split in ("train", "test", "evaluation"):
        chosen = data.index(split)["image"]
        assert data.labels(split).tolist() == original.target[chosen].tolist()
        expected = [[round(value * 255 / 16) for value in image.ravel()] for image in original.images[chosen]]
        assert data.images(split).reshape(len(chosen), 64).tolist() == expected


def test_evaluation_is_the_beginning_of_test(tmp_path):
    data = digits.prepare({"name": "digits", "train_count": 1000, "evaluation_count": 50}, tmp_path)
    assert [len(data.labels(split)) for split in ("train", "test", "evaluation")] == [1000, 797, 50]
    assert np.array_equal(data.images("evaluation"), data.images("test")[:50])


def test_split_is_the_same_every_time_and_everywhere(tmp_path):
    data = digits.prepare({"name": "digits"}, tmp_path / "a")
    assert digits.prepare({"name": "digits"}, tmp_path / "b").digest == data.digest
    # Another order would be another experiment under the same name: these five numbers must never change.
    assert data.index("train")["image"][:5].tolist() == [855, 921, 269, 1185, 11]


def test_smaller_training_set_is_part_of_a_larger_one(tmp_path):
    small = digits.prepare({"name": "digits", "train_count": 300}, tmp_path / "small").index("train")["image"]
    large = digits.prepare({"name": "digits", "train_count": 900}, tmp_path / "large").index("train")["image"]
    assert small.tolist() == large[:300].tolist()


def test_splits_are_alike_enough_to_learn_from(tmp_path):
    data = digits.prepare({"name": "digits"}, tmp_path)
    train, test = (data.images(split).reshape(-1, 64).astype(float) for split in ("train", "test"))
    neighbours = KNeighborsClassifier(1).fit(train, data.labels("train"))
    assert neighbours.score(test, data.labels("test")) > 0.97


def test_enlarged_images_are_interpolated_bilinearly(tmp_path):
    small = digits.prepare({"name": "digits"}, tmp_path / "small").images("evaluation")
    large = digits.prepare({"name": "digits", "image_size": 28}, tmp_path / "large").images("evaluation")
    assert large.shape == (len(small), 28, 28, 1)
    pixels = from_numpy(small[...].astype(np.float64)).permute(0, 3, 1, 2)
    expected = interpolate(pixels, (28, 28), mode="bilinear", align_corners=False).permute(0, 2, 3, 1).numpy()
    assert np.abs(large - expected).max() <= 1


@pytest.mark.parametrize(
    "spec",
    [{"image_size": 7}, {"image_size": 28.0}, {"image_size": 10**6}, {"train_count": 1797}, {"evaluation_count": 598}],
)
def test_settings_out_of_range_are_refused_by_name(tmp_path, spec):
    with pytest.raises(Problem, match=f"digits: {next(iter(spec))} is"):
        digits.prepare({"name": "digits"} | spec, tmp_path)
