"""Figures that rest on a measurement of a trained network show its arrays, and nothing where it was not made."""

import json

import numpy as np
import pytest
from papers_fixture import experiments, write_json, write_manifest, write_run
from papers_texts import check_texts

from robustloss import outcomes, papers
from robustloss.data import prepared
from robustloss.errors import Problem
from robustloss.papers import paths, style

CLASSES = ["Grasper", "Bipolar", "Hook"]
TARGETS = ["all_one", 2]
# Probabilities of the true class, 0, along three iterates of four images; the rest goes to the target's rival, class 2:
# the first crosses at the second iterate, the second at the third, the third never, the fourth is wrong when clean.
TRUE = np.array([[0.9, 0.4, 0.2], [0.8, 0.6, 0.3], [0.95, 0.9, 0.8], [0.2, 0.1, 0.05]]).T


def trajectories(folder):
    probabilities = np.stack([TRUE, np.full(TRUE.shape, 0.01), 0.99 - TRUE], -1)
    probabilities = np.stack([probabilities, probabilities[..., [0, 2, 1]]])
    arrays = {
        "index": np.arange(4),
        "labels": np.zeros(4, np.int16),
        "log_probabilities": np.log(probabilities).astype(np.float32),
    }
    spec = {"name": "trajectories", "split": "test", "class": 0, "targets": TARGETS}
    return measured(folder, arrays, spec | {"attack": {"name": "sai_fgsm", "steps": 2, "step_size": 0.2 / 255}})


def points(folder, dimension, **spec):
    rng = np.random.default_rng(0)
    arrays = {
        "index": np.arange(30),
        "labels": np.arange(30, dtype=np.int16) % 3,
        "predictions": np.zeros(30, np.int16),
        "points": rng.normal(size=(30, dimension)).astype(np.float32),
    }
    return measured(folder, arrays, {"name": "latent", "split": "test", **spec})


def planes(folder, flat=False):
    at = np.linspace(-0.1, 0.1, 5).astype(np.float32)
    margin = np.broadcast_to(0.05 - at[:, None], (2, 5, 5)).astype(np.float32)
    arrays = {
        "index": np.arange(2),
        "labels": np.zeros(2, np.int16),
        "coordinates": at,
        "cross_entropy": np.zeros_like(margin) if flat else -margin + 1,
        "margin": margin,
    }
    return measured(folder, arrays, {"name": "landscape", "split": "evaluation"})


def measured(folder, arrays, spec):
    outcomes.save(folder / "arrays.npz", arrays)
    write_json(folder / "measurement.json", {"spec": spec, "classes": CLASSES, "summary": {}})
    return arrays


def load(root, paper, rows, measure):
    """A paper with one run for each of `rows`, by experiment, whose figures `measure(name, folder)` measures."""
    found, arrays = {}, {}
    figures = experiments(paper)["figures"]
    for experiment, labels in rows.items():
        for row in labels:
            spec = {
                "data": {"name": "digits"},
                "model": {"name": "lenet5"},
                "objective": [{"loss": "cross_entropy", "weight": 1}],
                "epochs": 1,
                "seed": 0,
            }
            entry = write_run(root, f"{experiment}-{row}", spec, (0.7, 4.0, 0.5), {}, 1)
            for name, wanted in figures.items():
                chosen = wanted["experiment"] == experiment and row in wanted["rows"]
                if measure and chosen and "measure" in wanted:
                    folder = f"{entry['directory']}/measurements/{name.replace(' ', '-')}"
                    arrays[name, row] = measure(name, root / folder)
                    entry.setdefault("measured", {})[name] = folder
            found.setdefault(experiment, {})[row] = [entry]
    labels = {name: {row: row for row in own} for name, own in found.items()}
    content = {"data": {"surgical": "data/prepared/bars"}, "rows": found, "labels": labels, "figures": figures}
    manifest = write_manifest(root, paper, (0,), content)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        return papers.load(manifest.relative_to(root)), arrays


@pytest.fixture
def ding(tmp_path):
    paper, _ = load(tmp_path, "ding2025", {"table3": ["1"]}, lambda name, folder: trajectories(folder))
    return paper


def segments(axis):
    return [segment for found in axis.collections for segment in found.get_segments()]


def test_figure_a1_draws_each_images_loss_and_the_median(ding):
    figure = ding.figure("figure_a1")
    shown = [axis for axis in figure.axes if axis.get_title()]
    assert [axis.get_title() for axis in shown] == ["all-one (2 of 4)", "class 3, Hook (2 of 4)"]
    for axis in shown:
        drawn = sorted(segment[:, 1].round(5).tolist() for segment in segments(axis))
        assert drawn == sorted((-np.log(TRUE)).T.round(5).tolist())
        (median,) = axis.get_lines()
        assert median.get_ydata() == pytest.approx(np.median(-np.log(TRUE), 1), rel=1e-5)
    assert "4 images of class 1, Grasper, split test" in figure.get_supxlabel()
    assert "2 steps of 0.2/255" in figure.get_supxlabel()


def test_figure_a2_shows_the_loss_at_the_first_iterate_of_another_class(ding):
    (axis,) = ding.figure("figure_a2").axes
    dots = [line for line in axis.get_lines() if line.get_marker() == "."]
    for line in dots:
        assert line.get_ydata() == pytest.approx([-np.log(0.4), -np.log(0.3)], rel=1e-5)
    medians = [line.get_ydata()[0] for line in axis.get_lines() if line.get_marker() == "o"]
    assert medians == pytest.approx([-(np.log(0.4) + np.log(0.3)) / 2] * 2, rel=1e-5)
    assert [label.get_text() for label in axis.get_xticklabels()] == ["all-one\n2 of 4", "class 3\nHook\n2 of 4"]


def test_figure_a3_shows_all_probabilities_there(ding):
    first, second = (axis for axis in ding.figure("figure_a3").axes if axis.get_title())
    drawn = sorted(segment[:, 1].round(5).tolist() for segment in segments(first))
    assert drawn == [[0.3, 0.01, 0.69], [0.4, 0.01, 0.59]]
    assert sorted(segment[:, 1].round(5).tolist() for segment in segments(second))[0] == [0.3, 0.69, 0.01]
    assert [line.get_ydata().tolist() for line in first.get_lines()] == [pytest.approx([0.35, 0.01, 0.64])]


def test_an_image_that_is_wrong_when_clean_crosses_nothing():
    found = paths._at_boundary(
        {"labels": np.zeros(1, np.int16), "log_probabilities": np.log([[[[0.3, 0.7]], [[0.1, 0.9]]]])}
    )
    assert np.isnan(found).all()


def test_latent_points_are_drawn_by_class(tmp_path):
    paper, arrays = load(
        tmp_path,
        "chen2019",
        {"mnist": ["XE", "GCE 1/3"]},
        lambda name, folder: points(folder, 2, perplexity=30) if name.startswith("figure") else planes(folder),
    )
    figure = paper.figure("figure1")
    assert [axis.get_title() for axis in figure.axes] == ["XE, MNIST", "GCE 1/3, MNIST"]
    found = arrays["figure1 MNIST", "XE"]
    for index, line in enumerate(figure.axes[0].get_lines()):
        assert np.stack(line.get_data(), 1) == pytest.approx(found["points"][found["labels"] == index])
        assert (line.get_color(), line.get_marker()) == style.CLASSES[index]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == CLASSES
    assert "30 images of split test" in figure.get_supxlabel()
    # Nothing of the adversarially trained networks was measured.
    assert "not run at this scale" in [text.get_text() for text in paper.figure("figure4").texts]


def test_three_numbers_are_points_in_space(tmp_path):
    rows = {"mnist-embedding": ["SCE", "MMC"], "cifar10-embedding": ["I-SCE"]}
    paper, _ = load(tmp_path, "song2022", rows, lambda name, folder: points(folder, 3))
    axes = paper.figure("figure9").axes
    assert [axis.get_title() for axis in axes] == ["SCE, MNIST", "MMC, MNIST", "I-SCE, CIFAR10"]
    assert all(axis.name == "3d" for axis in axes)


def test_the_plane_has_the_gradients_sign_across_the_page(tmp_path):
    paper, arrays = load(tmp_path, "chen2019", {"mnist": ["XE", "COT"]}, lambda name, folder: planes(folder))
    figure = paper.figure("landscape")
    assert [axis.get_title() for axis in figure.axes[:2]] == ["XE", "COT"]
    mesh = figure.axes[0].collections[0]
    expected = arrays["landscape", "XE"]["cross_entropy"][0].T
    np.testing.assert_allclose(np.asarray(mesh.get_array()).reshape(expected.shape), expected)
    # The boundary is where the first coordinate is 0.05, whatever the second.
    (boundary,) = (path for path in figure.axes[0].collections[1].get_paths() if len(path.vertices))
    assert boundary.vertices[:, 0] == pytest.approx(0.05, abs=1e-6)


@pytest.mark.parametrize(
    ("paper", "rows", "names"),
    [
        ("ding2025", {"table3": ["1"]}, ["figure1", "figure_a1", "figure_a2", "figure_a3"]),
        ("chen2019", {"mnist": ["XE"]}, ["figure1", "figure4", "landscape"]),
        ("song2022", {"mnist-embedding": ["SCE"]}, ["figure9"]),
        ("pang2020", {"mnist-plane": ["SCE"]}, ["plane"]),
    ],
)
def test_what_was_not_measured_says_so(tmp_path, paper, rows, names):
    loaded, _ = load(tmp_path, paper, rows, None)
    for name in names:
        said = "the images are not here" if (paper, name) == ("ding2025", "figure1") else "not run at this scale"
        assert said in [text.get_text() for text in loaded.figure(name).texts]


def test_a_measurement_that_is_named_but_missing_is_one_sentence(ding, tmp_path):
    for path in (tmp_path / "results" / "runs").rglob("arrays.npz"):
        path.write_bytes(b"PK")
    with pytest.raises(Problem, match=r"run table3-1: .*arrays\.npz is damaged"):
        ding.figure("figure_a1")
    for path in (tmp_path / "results" / "runs").rglob("measurement.json"):
        path.write_text(json.dumps({"spec": {}}))
    with pytest.raises(Problem, match=r"run table3-1: .*it has no 'classes'"):
        ding.figure("figure_a1")


def test_figure_1_shows_the_middle_image_of_each_class(tmp_path, bars):
    paper, _ = load(tmp_path, "ding2025", {"table3": ["1"]}, None)
    folder = tmp_path / "data" / "prepared"
    folder.mkdir(parents=True)
    (folder / "bars").symlink_to(bars.directory)
    figure = paper.figure("figure1")
    assert [axis.get_title() for axis in figure.axes] == ["1: left", "2: right", "3: none"]
    for index, axis in enumerate(figure.axes):
        members = np.flatnonzero(bars.labels("train") == index)
        expected = prepared.load(bars.directory).images("train")[members[16]]
        assert np.array_equal(axis.get_images()[0].get_array(), expected)


@pytest.mark.parametrize("name", ["figure_a1", "figure_a2", "figure_a3"])
def test_no_text_overlaps_another_along_the_paths(ding, name, monkeypatch):
    check_texts(ding.figure(name), monkeypatch)


def test_a_run_of_two_experiments_has_the_measurements_of_each(ding, tmp_path):
    path = tmp_path / "results" / "papers" / "ding2025" / "manifest.json"
    content = json.loads(path.read_text())
    (entry,) = content["rows"]["table3"]["1"]
    content["rows"]["table3"]["8"] = [{key: value for key, value in entry.items() if key != "measured"}]
    write_json(path, content)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        found = papers.load(path.relative_to(tmp_path)).collection
    assert set(found.of("table3", "1")[0].measured) == {"figure_a1", "figure_a2", "figure_a3"}
    assert found.of("table3", "8")[0].measured == {}
