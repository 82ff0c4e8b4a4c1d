"""Faults as a user meets them: a typo, a missing or damaged file, a kill; each through Snakemake itself."""

import shutil
import subprocess

import pytest
import yaml

pytestmark = pytest.mark.xdist_group("study")


def told(found: subprocess.CompletedProcess) -> str:
    """The last sentence that the library has for the user; there is no traceback."""
    text = found.stdout + found.stderr
    assert found.returncode != 0
    assert "Traceback" not in text
    return [line for line in text.splitlines() if line.startswith("robustloss: ")][-1]


def test_a_mistyped_key_in_config_yaml(study):
    study.edit("config.yaml", "threads:", "thread:")
    assert "unknown key 'thread'; did you mean 'threads'?" in told(study.snakemake("-n", check=False))


def test_epsilon_in_pixels(study):
    study.configure(attacks={"pgd": {"epsilon": 8}})
    assert "write 8/255, not 8" in told(study.snakemake("-n", check=False))


def real_videos(study, root: str = "mine") -> None:
    """Take the drawn clips for real ones, in a data root of their own."""
    path = study.folder / "config.yaml"
    settings = yaml.safe_load(path.read_text())
    demo = settings["ding2025"]["scales"].pop("demo")
    paper = yaml.safe_load((study.folder / "workflow/papers/ding2025.yaml").read_text())["scales"]["demo"]
    data = {"name": "cholec80", "image_size": 16, "splits": {"train": [1, 2], "test": [3], "evaluation": [3]}}
    rows = {"table3": ["1"], "table4": [], "table5": [], "table6": []}
    scale = paper | {"data": {"surgical": data}, "rows": rows}
    scale["training"]["default"] |= demo["training"]["default"]
    settings |= {"scale": "mine", "data_root": root, "ding2025": {"scales": {"mine": scale}}}
    path.write_text(yaml.safe_dump(settings))
    drawn = next(study.folder.glob("data/raw/cholec80-sim-*"))
    shutil.copytree(drawn, study.folder / root / "cholec80")


# The second is the default, where drawn clips lie as well.
@pytest.mark.parametrize("root", ["mine", "data/raw"])
def test_videos_in_the_publisher_s_layout_are_taken_as_they_are(study, root):
    real_videos(study, root)
    study.snakemake("--cores", "2")
    # The network of the only row, and the one whose adversarial examples it meets.
    assert len(list(study.folder.glob("results/runs/cholec80-small-*/run.json"))) == 2


def test_a_missing_video(study):
    real_videos(study)
    (study.folder / "mine/cholec80/videos/video02.mp4").unlink()
    sentence = told(study.snakemake("--cores", "1", check=False))
    assert "video02" in sentence
    assert "mine/cholec80/videos/video02.mp4" in sentence


def test_a_video_without_annotation(study):
    real_videos(study)
    (study.folder / "mine/cholec80/tool_annotations/video03-tool.txt").unlink()
    assert "video03-tool.txt" in told(study.snakemake("--cores", "1", check=False))


def test_a_truncated_video(study):
    real_videos(study)
    video = study.folder / "mine/cholec80/videos/video01.mp4"
    video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    assert "video01.mp4" in told(study.snakemake("--cores", "1", check=False))


def test_annotations_alone_make_table_1(study):
    real_videos(study)
    shutil.rmtree(study.folder / "mine/cholec80/videos")
    (study.folder / "results/papers/ding2025/tables/table1.csv").unlink()
    study.snakemake("--cores", "1", "--", "table1")
    assert "44887" in (study.folder / "results/papers/ding2025/tables/table1.csv").read_text()


def test_damaged_weights_are_named(study):
    run = next(study.folder.glob("results/runs/*-1cross_entropy-constant-s0-*"))
    shutil.rmtree(run / "attacks")
    study.forget_paper()
    weights = run / "weights/epoch-002.safetensors"
    weights.write_bytes(weights.read_bytes()[:-50])
    assert "epoch-002.safetensors is damaged" in told(study.snakemake("--cores", "1", check=False))


def test_a_paper_that_fails_leaves_the_report_of_the_others(study):
    path = study.folder / "config.yaml"
    settings = yaml.safe_load(path.read_text())
    # Nothing of chen2019 is trained: its page shows dashes.
    settings["papers"].append("chen2019")
    settings["chen2019"] = {"scales": {"demo": {"rows": {"mnist": [], "mnist-at": []}}}}
    path.write_text(yaml.safe_dump(settings))
    reference = study.folder / "data/reference/chen2019.csv"
    reference.write_text(reference.read_text().replace("value", "valeu", 1))
    shutil.rmtree(study.folder / "results/report")
    found = study.snakemake("--cores", "2", check=False)
    assert "chen2019.csv" in told(found) and "valeu" in told(found)
    assert "robustloss: results/report/index.html shows what could be made of ding2025" in found.stderr.splitlines()
    page = (study.folder / "results/report/index.html").read_text()
    assert "ding2025" in page and "chen2019" in page
    reference.write_text(reference.read_text().replace("valeu", "value", 1))
    assert study.scheduled().keys() == {"paper", "report"}
    study.snakemake("--cores", "2")
    assert study.scheduled() == {}
