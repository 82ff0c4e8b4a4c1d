import math
from itertools import product

import numpy as np
import pandas as pd
import pytest
import yaml
from papers_fixture import ROOT, attacked, experiments, write_manifest, write_run
from papers_texts import check_texts

from robustloss import config, papers, reference, runs, schedules
from robustloss.data.cifar100 import LAYOUT
from robustloss.papers import pang2020, song2022, style

MODULES = {"song2022": song2022, "pang2020": pang2020}
SCALES = ("demo", "short", "paper")
# The publisher's table of CIFAR-100.
SUPERCLASSES = {
    "aquatic_mammals": "beaver dolphin otter seal whale",
    "fish": "aquarium_fish flatfish ray shark trout",
    "flowers": "orchid poppy rose sunflower tulip",
    "food_containers": "bottle bowl can cup plate",
    "fruit_and_vegetables": "apple mushroom orange pear sweet_pepper",
    "household_electrical_devices": "clock keyboard lamp telephone television",
    "household_furniture": "bed chair couch table wardrobe",
    "insects": "bee beetle butterfly caterpillar cockroach",
    "large_carnivores": "bear leopard lion tiger wolf",
    "large_man-made_outdoor_things": "bridge castle house road skyscraper",
    "large_natural_outdoor_scenes": "cloud forest mountain plain sea",
    "large_omnivores_and_herbivores": "camel cattle chimpanzee elephant kangaroo",
    "medium_mammals": "fox porcupine possum raccoon skunk",
    "non-insect_invertebrates": "crab lobster snail spider worm",
    "people": "baby boy girl man woman",
    "reptiles": "crocodile dinosaur lizard snake turtle",
    "small_mammals": "hamster mouse rabbit shrew squirrel",
    "trees": "maple_tree oak_tree palm_tree pine_tree willow_tree",
    "vehicles_1": "bicycle bus motorcycle pickup_truck train",
    "vehicles_2": "lawn_mower rocket streetcar tank tractor",
}


@pytest.fixture(scope="module")
def studies():
    """The checked yaml and the plan by paper and scale."""
    settings = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    checked, loaded = config.load(settings | {"papers": list(MODULES), "scale": "paper"})
    return {
        (name, scale): (loaded[name], runs.plan(checked | {"scale": scale}, {name: loaded[name]}))
        for name, scale in product(MODULES, SCALES)
    }


def entries(plan, name):
    """(experiment, row, run) of everything that is trained."""
    for experiment, rows in plan.manifests[name]["rows"].items():
        for row, found in rows.items():
            yield from ((experiment, row, run) for run in found)


@pytest.mark.parametrize("name", MODULES)
def test_the_paper_scale_runs_every_row_and_the_others_less(studies, name):
    paper, plan = studies[name, "paper"]
    everything = {(experiment, row) for experiment, found in paper["experiments"].items() for row in found["rows"]}
    assert {(experiment, row) for experiment, row, _ in entries(plan, name)} == everything
    counts = [len(studies[name, scale][1].runs) for scale in SCALES]
    assert counts[0] <= 7 < counts[1] < counts[2]


def test_rows_of_several_experiments_are_trained_once(studies):
    _, plan = studies["song2022", "paper"]
    names = {(experiment, row): run["run"] for experiment, row, run in entries(plan, "song2022") if run["seed"] == 0}
    for experiment in ("mnist-simba", "mnist-deepfool"):
        assert names[experiment, "MMC"] == names["mnist", "MMC"]
    assert names["mnist-grid", "s 1 m 0.1"] == names["mnist", "I-SCE"] != names["mnist", "I-SCE code"]
    assert names["mnist", "Random"] == names["mnist", "SCE"]
    assert names["cifar10-at", "0.02"] == names["cifar10", "AT"]


def test_hierarchical_centres_follow_the_superclasses_of_cifar100(studies):
    listed = studies["pang2020", "paper"][0]["objectives"]["HMM"]["head"]["superclasses"]
    fine, coarse = LAYOUT.labels["class"], LAYOUT.labels["coarse"]
    for number, name in enumerate(coarse):
        assert {fine[k] for k, of in enumerate(listed) if of == number} == set(SUPERCLASSES[name].split())


@pytest.mark.parametrize(("training", "drops"), [("cifar", (100, 150)), ("mnist", (30, 40))])
def test_rates_of_pang2020_drop_where_the_released_code_compares_epochs(studies, training, drops):
    settings = studies["pang2020", "paper"][0]["scales"]["paper"]["training"][training]
    for epoch in range(settings["epochs"]):
        expected = 0.01 * 0.1 ** sum(epoch > drop for drop in drops)
        for step in (0, 999):
            found = schedules.rate(settings["schedules"]["default"], epoch * 1000 + step, 1000)
            assert math.isclose(found, expected, rel_tol=1e-12)


@pytest.mark.parametrize(("training", "images"), [("mnist", 60_000), ("cifar10", 50_000)])
def test_song2022_takes_the_steps_of_the_code_in_whole_epochs(studies, training, images):
    settings = studies["song2022", "paper"][0]["scales"]["paper"]["training"][training]
    per_epoch = math.ceil(images / settings["batch_size"])
    drops = settings["schedules"]["default"]["epochs"]
    for epochs, steps in zip((*drops, settings["epochs"]), (10_000, 15_000, 20_000), strict=True):
        assert abs(epochs * per_epoch - steps) < per_epoch


def test_adversaries_of_the_demo_go_as_far_as_the_papers(studies):
    paper, _ = studies["song2022", "demo"]
    published = paper["perturbations"]["0.02"]
    demo = published | paper["scales"]["demo"]["perturbations"]["0.02"]
    assert math.isclose(published["epsilon"] * published["steps"], demo["epsilon"] * demo["steps"])


def test_figure_3_is_the_slope_of_the_printed_intervals():
    printed = reference.read(ROOT / "data" / "reference" / "song2022.csv")
    wrong, own = (
        printed.value("text", "MNIST and CIFAR10, mean over all examples", metric)
        for metric in ("wrong_exponentials", "correct_logit")
    )

    def lead(f, s, m):
        return np.exp(s * f + m) / (np.exp(s * f + m) + wrong) - np.exp(f) / (np.exp(f) + wrong)

    for s, m in product((1, 1.3, 2), (0, 0.05, 0.1)):
        slope = (lead(own + 1e-5, s, m) - lead(own - 1e-5, s, m)) / 2e-5
        assert math.isclose(wrong * song2022.interval_slope(s, m, own, wrong), slope, rel_tol=1e-6, abs_tol=1e-9)
    assert abs(song2022.interval_slope(1, 0, own, wrong)) < 1e-15
    # The condition does not hold in general, unlike what Section 3.3.2 suggests.
    assert song2022.interval_slope(1, 0.1, 2.02, 8) > 0 > song2022.interval_slope(1, 0.1, 2.04, 8)


def write_study(root, paper, rows):
    """Write runs by experiment and row, (clean accuracy, robust accuracy by attack) each; the loaded paper.

    At the last epoch, which tables show, the fixture has 0.1 more of each.
    """
    found = {}
    for experiment, own in rows.items():
        found[experiment] = {}
        for row, (clean, robust) in own.items():
            spec = {
                "data": {"name": "digits"},
                "model": {"name": "resnet_cifar", "depth": 8},
                "objective": [{"loss": "cross_entropy", "weight": 1}],
                "epochs": 2,
                "seed": 0,
            }
            attacks = {label: ({"name": label.split()[0]}, attacked(share, clean)) for label, share in robust.items()}
            entry = write_run(root, f"{experiment}-{row}", spec, (clean, 4.0, 0.5), attacks, 2)
            found[experiment][row] = [entry]
            for folder in entry["attacks"].values():
                # Half of 140 images are right when clean, and the others are not moved.
                numbers = {"epoch": [1, 2], "count": [140, 140], "clean_correct": [10, 70], "mean_l2": [9.0, 0.6]}
                pd.DataFrame(numbers).to_csv(root / folder / "epochs.csv", index=False)
    labels = {name: {row: f"label of {row}" for row in own} for name, own in found.items()}
    content = {"data": {}, "rows": found, "labels": labels, "figures": experiments(paper)["figures"]}
    return write_manifest(root, paper, (0,), content)


@pytest.fixture
def load(tmp_path, monkeypatch):
    def loaded(paper, rows):
        monkeypatch.chdir(tmp_path)
        return papers.load(write_study(tmp_path, paper, rows).relative_to(tmp_path))

    return loaded


SONG = {
    "mnist": {
        "SCE": (0.8, {"pgd50un 0.02": 0.1}),
        "I-SCE": (0.7, {"pgd50un 0.02": 0.5, "pgd50tar 0.04": 0.2, "honest 0.1": 0.05}),
    },
    "mnist-simba": {"Random": (0.75, {"simba300 1": 0.4})},
    "mnist-deepfool": {"MMC": (0.6, {"deepfool": 0.0, "deepfool coded": 0.3})},
    "mnist-grid": {"s 2 m 0.1": (0.6, {"pgd50un 0.02": 0.25})},
    "cifar10-at": {"0.02": (0.5, {"pgd30un 0.06": 0.35})},
}
PANG = {
    "mnist": {"MMC-10": (0.8, {"pgd50un 32 ce": 0.7, "pgd50un 32 adaptive": 0.4, "pairwise 32": 0.0})},
    "cifar10": {"SCE": (0.6, {"pgd50un 8 ce": 0.3})},
    "cifar10-others": {"AT-un SCE": (0.6, {"noise 0.05": 0.5, "cw 0": 0.0})},
    "cifar10-pgd": {"SCE": (0.6, {"pgd10tar 16 ce": 0.3, "pairwise 8": 0.15})},
}


@pytest.mark.parametrize("item", ["table1", "table2", "table3"])
def test_every_printed_cell_of_song2022_stands_in_its_table(load, item):
    frame = load("song2022", SONG).table(item)
    printed = [cell for cell in load("song2022", SONG).collection.reference.cells if cell.item == item]
    in_paper = frame[frame["in_paper"]].set_index(["row", "column"])["percent_published"].to_dict()
    assert in_paper == {(cell.row, cell.column): cell.value for cell in printed}


def test_cells_of_song2022_are_those_of_their_runs(load):
    paper = load("song2022", SONG)
    found = paper.table("table1").set_index(["row", "column"])["percent"].dropna()
    assert found.round(6).to_dict() == {
        ("MNIST I-SCE", "Clean"): 80,
        ("MNIST eps=0.02 I-SCE", "PGD 50 un"): 60,
        ("MNIST eps=0.04 I-SCE", "PGD 50 tar"): 30,
        ("MNIST honest=0.1 I-SCE", "worst case"): 15,
        ("MNIST SCE", "Clean"): 90,
        ("MNIST eps=0.02 SCE", "PGD 50 un"): 20,
    }
    assert paper.table("table3").dropna(subset="percent")["row"].to_list() == ["MNIST Random", "MNIST eps=1 Random"]


def test_gains_are_differences_of_our_accuracies(load):
    frame = load("song2022", SONG).table("gains").set_index("row")
    assert math.isclose(frame.loc["MNIST ResNet-32 PGD50un I-SCE over SCE", "points"], 40)
    assert frame.loc["MNIST ResNet-32 PGD50un I-SCE over SCE", "points_published"] == 63.13
    assert frame["points"].notna().sum() == 1


def test_deepfools_distance_is_that_of_images_right_when_clean(load):
    frame = load("song2022", SONG).table("numbers8").set_index(["experiment", "row"])
    found = frame.loc[("mnist-deepfool", "MMC")]
    assert math.isclose(found["deepfool_l2"], 1.2)
    assert [round(found[name], 6) for name in ("accuracy_percent", "deepfool_coded_percent")] == [70, 40]
    assert frame["deepfool_l2"].notna().sum() == 1


def test_tables_of_pang2020_are_those_of_their_runs(load):
    paper = load("pang2020", PANG)
    found = paper.table("compared").set_index(["experiment", "row"]).loc[("mnist", "MMC-10")]
    labels = ("accuracy", "pgd50un_ce", "pgd50un_adaptive", "pairwise")
    assert [round(found[f"{label}_percent"], 6) for label in labels] == [90, 80, 50, 10]
    found = paper.table("compared").set_index(["experiment", "row"]).loc[("cifar10", "SCE")]
    assert [round(found[f"{label}_percent"], 6) for label in labels[:2]] == [70, 40]
    found = paper.table("pgd_ce").set_index(["experiment", "row"]).loc[("cifar10-pgd", "SCE")]
    assert found["pgd10tar_16_ce_percent"] == pytest.approx(40)
    found = paper.table("others").set_index("row").loc["AT-un SCE"]
    assert [round(found[name], 6) for name in ("noise_0.05_percent", "cw_0_l2")] == [60, 1.2]


@pytest.mark.parametrize(("name", "rows"), [("song2022", SONG), ("song2022", {}), ("pang2020", PANG), ("pang2020", {})])
def test_everything_is_shown_whatever_was_run(load, name, rows, tmp_path):
    paper = load(name, rows)
    for table in MODULES[name].TABLES:
        text = paper.show(table).to_html()
        assert "nan" not in text.lower().replace("pgd", "")
        assert "—" in text
        ours = pd.read_csv(tmp_path / "results" / "papers" / name / "tables" / f"{table}.csv", na_values="—")
        if not rows:
            assert ours.filter(regex=r"^(percent|points)$|_percent$|_l2$").isna().all(axis=None)
    for figure in MODULES[name].FIGURES:
        drawing = paper.show(figure)
        assert drawing.png.stat().st_size > 2000


def test_labels_of_the_pages_are_those_of_the_yaml(studies):
    song, pang = (studies[name, "paper"][0] for name in MODULES)
    for experiment in ("mnist", "cifar10", "mnist-shallow", "cifar10-shallow"):
        data = experiment.removesuffix("-shallow")
        wanted = {f"{attack} {step}" for attack in song2022.PGD for step in song2022.STEPS[data]}
        wanted |= {f"honest {song2022.HONEST[data]}", "linf 0.5"}
        assert wanted <= set(song["experiments"][experiment]["attacks"])
        assert set(song["experiments"][experiment]["rows"]) == set(song2022.METHODS)
    assert set(song["experiments"]["cifar10-at"]["rows"]) == set(song2022.TRAINED_STEPS)
    assert set(song["experiments"]["cifar10-at"]["attacks"]) == set(song2022.CURVES.values())
    for row, experiment, other, attack in song2022.GAINS:
        assert {other, "I-SCE"} <= set(song["experiments"][experiment]["rows"]), row
        assert attack in song["experiments"][experiment]["attacks"], row
    for data, methods in pang2020.METHODS.items():
        for experiment in (data, f"{data}-pgd"):
            assert set(pang["experiments"][experiment]["rows"]) == set(methods)
    assert set(pang["experiments"]["cifar10-at"]["rows"]) == {"SCE", "MMC-10", *pang2020.TRAINED}
    sources = {f"from {source}" for source in pang2020.SOURCES}
    assert set(pang["experiments"][pang2020.TRANSFER]["attacks"]) == sources
    assert set(pang["experiments"][pang2020.TRANSFER]["rows"]) == {*pang2020.METHODS["cifar10"], *pang2020.TRAINED}
    for experiment, attack in song2022.GRIDS.values():
        assert attack in song["experiments"][experiment]["attacks"]
        rows = {f"s {s} m {m}" for s in song2022.GRID["s"] for m in song2022.GRID["m"]}
        assert set(song["experiments"][experiment]["rows"]) == rows


def test_columns_find_their_attacks(load, studies):
    """Every column of every table of ours reads something when all attacks of the yaml have been run."""
    for name, module in MODULES.items():
        paper, _ = studies[name, "paper"]
        rows = {
            experiment: {next(iter(found["rows"])): (0.5, dict.fromkeys(found["attacks"], 0.25))}
            for experiment, found in paper["experiments"].items()
        }
        loaded = load(name, rows)
        for table in set(module.TABLES) - {"table1", "table2", "table3", "gains", "speed", "centres", "independent"}:
            frame = loaded.table(table).filter(regex=r"_percent$|_l2$")
            assert frame.notna().any().all(), (table, list(frame.columns[frame.isna().all()]))


def test_figures_5_marks_the_values_of_table_1(load):
    un, tar = (load("song2022", SONG).figure("figure5").axes[place] for place in (1, 3))
    color = style.marks(song2022.METHODS)["I-SCE"].color
    for axis, values in ((un, (99.57, 63.47, 46.41)), (tar, (99.57, 12.74, 6.78))):
        own = [line for line in axis.get_lines() if line.get_color() == color]
        (hollow,) = (line for line in own if line.get_markerfacecolor() == "none")
        assert dict(zip(hollow.get_xdata(), hollow.get_ydata(), strict=True)) == dict(
            zip((0, 0.02, 0.04), values, strict=True)
        )
    (ours,) = (line for line in un.get_lines() if line.get_color() == color and line.get_linestyle() == "-")
    assert ours.get_xydata().tolist() == [[0, pytest.approx(80)], [0.02, pytest.approx(60)]]


def test_figure_8_has_accuracies_and_the_distance(load):
    accuracy, elsewhere, distance, _ = load("song2022", SONG).figure("figure8").axes
    place = song2022.METHODS.index("MMC")
    color = style.marks(song2022.METHODS)["MMC"].color
    dots = {line.get_marker(): line.get_xydata()[0] for line in accuracy.get_lines() if line.get_color() == color}
    assert [dots[marker][0] for marker in ("p", "o", "x")] == pytest.approx([70, 40, 10])
    assert all(abs(dot[1] - place) < 0.5 for dot in dots.values())
    (found,) = (line for line in distance.get_lines() if line.get_marker() == "x")
    assert found.get_xdata()[0] == pytest.approx(1.2)
    assert [text.get_text() for text in elsewhere.texts] == ["not run at this scale"]
    # Table 3's accuracies on clean images, of I-SCE and AT those of Table 1.
    published = [line.get_xdata()[0] for line in accuracy.get_lines() if line.get_color() == style.GREY]
    assert published == [99.33, 99.25, 99.18, 98.90, 99.25, 99.57]


def test_figure_4_draws_a_surface_through_the_cells_of_a_grid(load):
    grid = {
        f"s {s} m {m}": (0.6, {"pgd50un 0.02": 0.1 * float(s) + float(m)}) for s in ("1", "2") for m in ("0.02", "0.1")
    }
    axis = load("song2022", {"mnist-grid": grid}).figure("figure4").axes[2]
    points = {tuple(np.ravel(line.get_data_3d()).round(6)) for line in axis.get_lines() if line.get_marker() == "o"}
    expected = {(1, 0.02, 22), (1, 0.1, 30), (2, 0.02, 32), (2, 0.1, 40)}
    assert points == {tuple(map(float, point)) for point in expected}
    assert len(axis.collections) == 1
    # A single cell is a point without a surface.
    axis = load("song2022", SONG).figure("figure4").axes[2]
    assert not axis.collections


def test_the_transfer_matrix_writes_each_accuracy(load):
    rows = {pang2020.TRANSFER: {"MMC-10": (0.8, {"from SCE": 0.35}), "SCE": (0.8, {"from MMC-10": 0.2})}}
    axis = load("pang2020", rows).figure("transferred").axes[0]
    shown = {(text.get_position()[1], text.get_position()[0]): text.get_text() for text in axis.texts}
    places = [*pang2020.METHODS["cifar10"], *pang2020.TRAINED]
    assert shown[places.index("MMC-10"), 0] == "45.0"
    assert shown[places.index("SCE"), 1] == "30.0"
    assert sum(text == "—" for text in shown.values()) == len(shown) - 2


@pytest.mark.parametrize(("robust", "last"), [({"mnist": 0.3}, 40), ({"mnist": 0.3, "cifar10": 0.1}, 20)])
def test_strength_is_of_cifar10_or_of_mnist_where_only_that_was_run(load, robust, last):
    rows = {f"{data}-pgd": {"MMC-10": (0.8, {"pairwise 8": share})} for data, share in robust.items()}
    axis = load("pang2020", rows).figure("strength").axes[2]
    drawn = np.concatenate([line.get_xydata() for line in axis.get_lines()])
    assert drawn[drawn[:, 0] == 8, 1] == pytest.approx(last)


def test_speed_is_the_test_error_after_some_epochs_and_the_cost_of_one(load):
    found = load("pang2020", PANG).table("speed").set_index("row").loc["MMC-10"]
    assert [found[f"error_{epoch}_percent"] for epoch in (1, 2, "last")] == pytest.approx([20, 20, 20])
    assert [found["error_2_percent_low"], found["error_2_percent_high"]] == pytest.approx([15, 25])
    assert math.isnan(found["error_5_percent"])
    assert found["seconds_per_epoch"] == 5


def test_what_others_found_has_a_source_and_stands_beside_ours(load):
    rows = PANG | {"cifar10": {"MMC-10": (0.8, {"autoattack 8": 0.05})}}
    frame = load("pang2020", rows).table("independent")
    assert frame["source"].str.startswith("github.com/").all()
    ours = frame.dropna(subset="percent").set_index("attack")
    assert ours["percent"].to_dict() == {"none": pytest.approx(90), "AutoAttack": pytest.approx(15)}
    assert ours["percent_others"].to_dict() == {"none": 90.18, "AutoAttack": 0}


def test_labels_of_what_others_found_are_attacks_of_the_yaml(studies):
    paper, _ = studies["pang2020", "paper"]
    found = pd.read_csv(ROOT / "data" / "reference" / "independent.csv", keep_default_na=False)
    for row in found[found["paper"] == "pang2020"].itertuples():
        experiment = paper["experiments"][row.experiment]
        assert row.row in experiment["rows"]
        assert row.label in ("", "clean", *experiment["attacks"])


def test_angles_between_optimal_centres_are_those_of_a_simplex(load):
    optimal, random, _ = load("pang2020", {}).figure("angles").axes
    smallest = math.degrees(math.acos(-1 / 9))
    assert optimal.get_title() == f"optimal: at least {smallest:.1f}° between two centres"
    cosines = np.asarray(optimal.get_images()[0].get_array())
    assert cosines[~np.eye(10, dtype=bool)] == pytest.approx(-1 / 9)
    assert float(random.get_title().split()[3].rstrip("°")) < smallest


@pytest.mark.parametrize(
    ("paper", "name"),
    [
        *(("song2022", f"figure{number}") for number in (3, 4, 5, 7, 8)),
        *(("pang2020", name) for name in ("attacks", "transferred", "angles", "strength")),
    ],
)
def test_no_text_overlaps_another(load, paper, name, monkeypatch):
    check_texts(load(paper, SONG if paper == "song2022" else PANG).figure(name), monkeypatch)
