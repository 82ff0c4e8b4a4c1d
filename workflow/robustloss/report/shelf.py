"""What a results folder holds, in the order in which a reader asks: papers, what they show, and the runs behind it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from robustloss.report import notebook
from robustloss.report.ledger import Claim
from robustloss.report.notebook import Shown


@dataclass(frozen=True)
class Use:
    """A row of a paper's experiment that rests on a run."""

    paper: str
    experiment: str
    row: str
    label: str


@dataclass(frozen=True)
class Attack:
    """An attack on a run: attack.json, and what the papers call it."""

    name: str
    labels: tuple[str, ...]
    record: dict

    @property
    def epsilon(self) -> float | None:
        """Its radius, in its own settings or in those of the attack that it transfers."""
        spec = self.record["spec"]
        return spec.get("epsilon", (spec.get("attack") or {}).get("epsilon"))

    @property
    def robust(self) -> dict:
        """Robust accuracy: mean over the epochs and last epoch with their intervals, shares in [0, 1]."""
        return self.record["summary"]["robust_accuracy"]


@dataclass
class Run:
    """A trained network as its files tell it; a record that is missing or damaged is empty, and `problems` says so."""

    name: str
    directory: Path
    record: dict
    history: list[dict]
    features: dict
    epochs: list[dict]
    attacks: dict[str, Attack]
    audits: dict[str, dict]
    measured: dict[str, dict]
    uses: list[Use]
    problems: list[str]

    @property
    def spec(self) -> dict:
        """What was trained; empty where the record is missing."""
        return self.record.get("spec", {})

    @property
    def clean(self) -> dict:
        """Accuracy on the test split, as an attack's `robust`; empty where it was not measured."""
        return self.features.get("summary", {}).get("test", {}).get("accuracy", {})

    @property
    def lowest(self) -> Attack | None:
        """The attack that leaves least at the last epoch."""
        return min(self.attacks.values(), key=lambda attack: attack.robust["last"], default=None)

    def stages(self) -> Iterator[tuple[str, str, dict]]:
        """(stage, name, environment) of each result that this run's folder holds."""
        found = [("training", self.name, self.record), ("features", self.features.get("name", ""), self.features)]
        found += [("attack", attack.name, attack.record) for attack in self.attacks.values()]
        found += [("audit", name, record) for name, record in self.audits.items()]
        found += [("measurement", name, record) for name, record in self.measured.items()]
        yield from ((stage, name, record["environment"]) for stage, name, record in found if "environment" in record)


@dataclass
class Paper:
    """A paper's results: its claims, the rows of tables/<name>.csv by name and in order, and the names of figures."""

    name: str
    directory: Path
    manifest: dict
    claims: list[Claim]
    tables: dict[str, list[dict]]
    figures: list[str]
    shown: dict[str, Shown]
    problems: list[str]

    def rows(self) -> Iterator[tuple[str, str, list[dict]]]:
        """(experiment, row, the manifest's entries of its runs), also where there are none."""
        for experiment, rows in self.manifest["rows"].items():
            yield from ((experiment, row, entries) for row, entries in rows.items())

    def label(self, experiment: str, row: str) -> str:
        """The formula of what a row was trained with."""
        return self.manifest["labels"].get(experiment, {}).get(row, row)

    def about(self, name: str) -> Shown:
        """What the notebook says of a table or figure, or its name alone."""
        return self.shown.get(name, Shown(notebook.title(name)))

    @property
    def page(self) -> Path | None:
        """The executed notebook as a page, if it was rendered."""
        path = self.directory / f"{self.name}.html"
        return path if path.is_file() else None


@dataclass
class Shelf:
    """Papers and runs by name; `problems` are those of papers that cannot be shown at all."""

    papers: dict[str, Paper] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
