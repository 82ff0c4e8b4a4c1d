"""The claims of the published papers for an artifact appendix: command, minutes, hours, expected result."""

from collections.abc import Iterable
from pathlib import Path

from robustloss.claims.page import text
from robustloss.claims.statements import several, sides
from robustloss.claims.verdicts import Word
from robustloss.errors import Problem
from robustloss.files import read_json, write_between
from robustloss.lineage import collected, stored
from robustloss.papers.measured import read_table
from robustloss.publishing.named import BYTES

BEGIN, END = "<!-- claims: written by `python -m robustloss appendix` -->", "<!-- end of claims -->"
# To find a claim in the report and read what it rests on.
MINUTES = 2
# Hours that are worth a number.
SHORTEST = 0.01
HEADS = ("claim", "", "expected result", "human minutes", "hours: attacks alone", "hours: everything")


def write(results: Path, page: Path) -> None:
    """Replace what stands between the markers of `page` by the claims of <results>/published; Problem without any."""
    papers = stored.manifests(results, "published")
    if not papers:
        raise Problem(f"{results}/published has no paper yet: publish one first, or name another folder of results")
    write_between(page, BEGIN, END, "\n\n".join(_paper(results, *each) for each in papers.items()))


def _paper(results: Path, paper: str, manifest: dict) -> str:
    """A heading, the commands, and a line per claim."""
    runs = {entry["directory"] for _, _, entry in stored.entries(manifest)}
    machines = {read_json(Path(run) / "run.json")["environment"]["hardware"] for run in runs}
    rows = [_claim(row, manifest) for row in _claims(results / "published" / paper)]
    lines = [HEADS, ["---"] * 3 + ["---:"] * 3, *rows]
    about = f"{manifest['title']}. {manifest['citation']}. Scale `{manifest['scale']}`, trained networks: {len(runs)}"
    attacks, everything = map(_shown, all_hours(results, manifest))
    return "\n".join(
        [
            f"### {paper}",
            "",
            f"{about}; hours are those of {' and '.join(sorted(machines))}, in all {attacks} for the attacks alone and "
            f"{everything} for everything.",
            "",
            f"    make tables PAPERS={paper}",
            *_attacks(paper, runs),
            "",
            *(f"| {' | '.join(line)} |" for line in lines),
        ]
    )


def _attacks(paper: str, runs: Iterable[str]) -> list[str]:
    """How the networks of a paper are attacked again."""
    if any((Path(run) / BYTES).is_file() for run in runs):
        return [f"    make attacks PAPERS={paper}"]
    return ["", "Its networks are not published, only what was measured of them. A run that is deleted is made anew."]


def _claim(row: dict, manifest: dict) -> list[str]:
    claim = row["claim"].replace("|", "\\|")
    if row["run"] == 0:
        return [row["id"], claim, f"{row['verdict']}", *["—"] * 3]
    found = text(row["unit"], *(float(row[key]) for key in ("ours", "low", "high")))
    if row["verdict"] == Word.COLLAPSES:
        honest = text(row["unit"], *(float(row[key]) for key in ("honest", "honest_low", "honest_high")))
        found += f" as published, {honest} under the honest attacks"
    spent = hours(manifest["claims"][row["id"]]["comparisons"], manifest)
    return [row["id"], claim, f"**{row['verdict']}**: {row['measure']} {found}", str(MINUTES), *map(_shown, spent)]


def _shown(spent: float) -> str:
    return f"{spent:.2f}" if spent >= SHORTEST else f"< {SHORTEST}"


def all_hours(results: Path, manifest: dict) -> tuple[float, float]:
    """Hours of all attacks that a manifest names, and of these with trainings, audits and measurements."""
    items = {item.path: item for item in collected.named(results, manifest)}
    seconds = {path: item.record()["environment"]["seconds"] for path, item in items.items()}
    attacks = sum(seconds[path] for path, item in items.items() if item.stage == "attack")
    return attacks / 3600, sum(seconds.values()) / 3600


def hours(comparisons: Iterable[dict], manifest: dict) -> tuple[float, float]:
    """Hours of the attacks that comparisons rest on, and of these with training and clean measurements."""
    attacks, trainings = set(), set()
    for comparison in comparisons:
        for entry, labels in _sides(comparison, manifest):
            attacks |= {Path(entry["attacks"][label]) / "attack.json" for label in labels if label in entry["attacks"]}
            trainings |= {Path(entry["directory"]) / "run.json", Path(entry["features"]) / "features.json"}
    found = [sum(read_json(record)["environment"]["seconds"] for record in records) for records in (attacks, trainings)]
    return found[0] / 3600, sum(found) / 3600


def _sides(comparison: dict, manifest: dict) -> Iterable[tuple[dict, list[str]]]:
    """Each run that a comparison rests on, with the attacks on it."""
    honest = several(comparison.get("honest", []))
    for side in sides(comparison):
        for experiment, labels in ((side.experiment, side.attacks), (side.honest_experiment, honest)):
            for row in side.rows:
                yield from ((entry, labels) for entry in manifest["rows"].get(experiment, {}).get(row, []))


def _claims(folder: Path) -> list[dict]:
    """The verdicts of a paper; none where it has no ledger, and its record knows of none."""
    path = folder / "claims.csv"
    if not path.is_file() and path not in collected.vouched(folder):
        return []
    return read_table(collected.check(path, folder)).to_dict("records")
