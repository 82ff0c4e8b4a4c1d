from dataclasses import replace

import numpy as np
import pandas as pd
import papers_fixture
import pytest
from matplotlib.colors import to_hex, to_rgb
from papers_fixture import ADVERSARIAL, COUNTS, LABELS, TOOLS, TRUTH
from papers_texts import check_texts
from PIL import Image
from scipy import stats

from robustloss import papers
from robustloss.papers import pang2020, song2022, style

FIGURES = ("figure2", "figure3", "figure4", "figure5", "summary")
MANIFEST = "results/papers/ding2025/manifest.json"


def write_and_load(root, **options):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        papers_fixture.write(root, **options)
        return papers.load(MANIFEST)


@pytest.fixture(scope="module")
def paper(tmp_path_factory):
    return write_and_load(tmp_path_factory.mktemp("one"), left_out=(("table3", "4"), ("table3", "6(2)")))


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    return write_and_load(tmp_path_factory.mktemp("several"), seeds=(0, 1, 2))


def lines(axis, color):
    return [line for line in axis.get_lines() if to_hex(line.get_color()) == color and line.get_marker() != "D"]


def epochs(paper, row):
    (entry,) = paper.collection.manifest["rows"]["table3"][row]
    return pd.read_csv(paper.collection.root / entry["features"] / "epochs.csv").query("split == 'train'")


# What is drawn together: the losses of each paper's figures.
TOGETHER = {
    "ding2025": tuple(LABELS),
    "song2022": song2022.METHODS,
    "pang2020 MNIST and CIFAR-10": pang2020.METHODS["cifar10"],
    "pang2020 CIFAR-100": pang2020.METHODS["cifar100"],
    "pang2020 trained": ("SCE", "MMC-10", *pang2020.TRAINED),
    "chen2019": ("XE", "GCE 1/2", "GCE 1/3", "GCE 1/4", "GCE 1/5", "GCE exact", "COT", "COT exact", "MMC", "I-SCE"),
}


@pytest.mark.parametrize("rows", TOGETHER.values(), ids=TOGETHER)
def test_every_loss_has_a_mark_of_its_own_in_colour_and_in_grey(rows):
    marks = style.marks(rows)
    assert list(marks) == list(dict.fromkeys(rows))
    assert len({(mark.color, mark.hollow) for mark in marks.values()}) == len(marks)
    plain = {row: mark for row, mark in marks.items() if not mark.hollow}
    # In grey and without lines the marker alone must do.
    assert len({mark.marker for mark in plain.values()}) == len(plain)
    for row in set(marks) - set(plain):
        assert marks[row] == replace(marks[row.removesuffix("(2)")], hollow=True)


def test_a_loss_has_the_same_mark_in_every_paper():
    for rows in TOGETHER.values():
        assert style.marks(rows) == {row: style.marks([row])[row] for row in rows}
    one = style.marks(["SCE", "XE", "1", "MMC", "MMC-10", "LS", "5", "AT", "AT-un SCE"])
    assert one["SCE"] == one["XE"] == one["1"]
    assert one["MMC"] == one["MMC-10"]
    assert one["LS"] == one["5"]
    assert one["AT"] == one["AT-un SCE"]


def test_a_loss_that_no_paper_has_gets_a_colour_that_is_free():
    marks = style.marks(["XE", "GCE 1/3", "mine"])
    assert len({mark.color for mark in marks.values()}) == len({mark.marker for mark in marks.values()}) == 3
    many = style.marks(map(str, range(100, 130)))
    assert len(many) == 30


def contrast(color):
    """WCAG's contrast with white."""
    channels = np.array(to_rgb(color))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return 1.05 / (linear @ (0.2126, 0.7152, 0.0722) + 0.05)


def test_colours_stand_out_on_white():
    rows = {row for rows in TOGETHER.values() for row in rows}
    assert min(contrast(mark.color) for mark in style.marks(rows).values()) > 1.8
    assert contrast("#ffffff") == pytest.approx(1)
    assert contrast("#000000") == pytest.approx(21)


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    root = tmp_path_factory.mktemp("cells")
    rows = ("XE", "GCE 1/2", "GCE 1/3", "GCE 1/4", "GCE 1/5", "GCE exact", "COT", "MMC", "I-SCE")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        manifest = papers_fixture.write_chen2019(root, rows={"mnist": dict.fromkeys(rows, 0.5)}, seeds=(0, 1))
        return papers.load(manifest.relative_to(root))


@pytest.mark.parametrize("name", [*FIGURES, "cells"])
def test_no_text_overlaps_another_or_leaves_the_page(name, seeds, cells, monkeypatch):
    figure = cells.figure("summary") if name == "cells" else seeds.figure(name)
    check_texts(figure, monkeypatch)


def test_figure_2_draws_the_distances_of_the_training_split(paper):
    intra, inter = paper.figure("figure2").axes
    for row in ("0", "1", "2", "3", "8"):
        for axis, column in ((intra, "d_ic"), (inter, "d_cc")):
            (line,) = [found for found in axis.get_lines() if found.get_color() == style.marks(LABELS)[row].color]
            assert line.get_xdata().tolist() == list(range(1, 11))
            assert line.get_ydata() == pytest.approx(epochs(paper, row)[column].to_numpy())
    assert len(intra.get_lines()) == 5


def test_a_row_that_was_not_run_is_named_in_the_footer(paper):
    assert paper.figure("figure2").get_supxlabel().endswith("not run: 4")
    assert "not run" not in paper.figure("figure5").get_supxlabel()
    assert "634 images of split train" in paper.figure("figure5").get_supxlabel()


def test_figure_3_zooms_into_the_epochs_that_the_caption_names(paper):
    whole, zoom = paper.figure("figure3").axes
    error = epochs(paper, "8")["cross_entropy"].to_numpy()
    assert lines(whole, "#d55e00")[0].get_ydata() == pytest.approx(error)
    assert lines(zoom, "#d55e00")[0].get_xdata().tolist() == list(range(5, 11))
    assert lines(zoom, "#d55e00")[0].get_ydata() == pytest.approx(error[4:])


def test_figure_3_of_a_short_training_shows_its_last_two_epochs(tmp_path):
    _, zoom = write_and_load(tmp_path, epochs=2).figure("figure3").axes
    assert zoom.get_lines()[0].get_xdata().tolist() == [1, 2]


def test_figure_4_shows_the_error_and_the_size_of_each_class(paper):
    errors, counts = paper.figure("figure4").axes
    assert [bar.get_width() for bar in counts.patches] == list(COUNTS["train"])
    assert [label.get_text() for label in errors.get_yticklabels()] == list(TOOLS)
    (black,) = (line for line in errors.get_lines() if line.get_color() == "#000000")
    expected = [TRUTH["1"][3] * (0.5 + 40 / count) for count in COUNTS["train"]]
    assert black.get_xdata() == pytest.approx(expected)
    assert np.round(black.get_ydata()).tolist() == list(range(7))


def test_figure_5_has_three_panels_and_the_rows_of_the_manifest(paper):
    axes = paper.figure("figure5").axes
    assert [axis.get_yscale() for axis in axes] == ["log", "log", "linear"]
    assert all(len(axis.get_lines()) == 4 for axis in axes)


def test_bands_are_students_intervals_over_seeds_and_absent_for_one(paper, seeds):
    assert not paper.figure("figure5").axes[2].collections
    axis = seeds.figure("figure5").axes[2]
    assert len(axis.collections) == 4
    values = [TRUTH["1"][3] * (1 + 0.05 * seed) for seed in range(3)]
    low, high = stats.t.interval(0.95, 2, loc=np.mean(values), scale=stats.sem(values))
    corners = axis.collections[0].get_paths()[0].vertices
    at_the_end = corners[corners[:, 0] == 10][:, 1]
    assert (at_the_end.min(), at_the_end.max()) == pytest.approx((low, high))


def test_the_summary_sets_ours_beside_the_published_values(paper):
    robust, accuracy, ratio = paper.figure("summary").axes
    for axis, metric, percent in ((robust, "robust_accuracy", 12.5), (accuracy, "accuracy", 75)):
        points = {line.get_xdata()[0]: line for line in axis.get_lines() if line.get_ydata()[0] == 1}
        assert points[percent].get_markerfacecolor() == "#000000"
        assert points[paper.collection.reference.value("table3", "1", metric)].get_markerfacecolor() == "none"
    majorities = [line for line in accuracy.get_lines() if line.get_marker() == "None"]
    assert [line.get_xdata()[0] for line in majorities] == [pytest.approx(100 * 160 / 340)]
    ratios = sorted(line.get_xdata()[0] for line in ratio.get_lines() if line.get_ydata()[0] == len(LABELS) - 1)
    assert ratios == pytest.approx([17.05 / 11.84, 12 / 8])
    # A row that was not run keeps its published value and has no point of ours.
    place = list(LABELS).index("6(2)")
    assert [line.get_xdata()[0] for line in accuracy.get_lines() if line.get_ydata()[0] == place] == [91.38]


def test_figures_of_a_scale_without_any_run_say_so(tmp_path):
    left_out = [("table3", row) for row in LABELS] + [("table4", row) for row in "167"]
    left_out += [(table, row) for table, rows in ADVERSARIAL.items() for row in rows]
    paper = write_and_load(tmp_path, left_out=left_out)
    for name in FIGURES[:-1]:
        assert "not run at this scale" in [text.get_text() for text in paper.figure(name).texts]
    assert len(paper.figure("summary").axes[0].get_lines()) == len(LABELS)
    assert paper.table("table3")["accuracy_percent"].isna().all()
    paper.show("table3")
    assert paper.overview().data.set_index("what").loc[["trained", "time"], "value"].to_list() == ["—", "—"]


def test_files_are_written_at_150_dots_per_inch_and_the_same_each_time(paper):
    drawing = paper.show("figure3")
    with Image.open(drawing.png) as picture:
        assert picture.size[0] == round(drawing.width * 150)
        assert np.asarray(picture.convert("L")).std() > 10
    assert drawing.pdf.read_bytes().startswith(b"%PDF")
    before = drawing.png.read_bytes(), drawing.pdf.read_bytes()
    again = paper.show("figure3")
    assert (again.png.read_bytes(), again.pdf.read_bytes()) == before
    data, metadata = again._repr_png_()
    assert data == before[0]
    assert metadata["alt"].startswith("Cross-entropy of the training split")
