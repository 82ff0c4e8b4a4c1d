"""What a results folder holds and no configuration, of any paper at any scale, refers to."""

import itertools
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from robustloss.errors import Problem
from robustloss.lineage import collected, stored
from robustloss.lineage import planned as planning
from robustloss.lineage.stored import Stored


def unused(results: Path, prepared: Path, files: Sequence[Path]) -> list[Path]:
    """Folders of runs, of what was computed of a run, and of prepared data that nothing refers to, whole runs first.

    In use is what the configuration `files` ask for, of every paper at every scale; what a manifest in `results`,
    published or not, names; and the runs and data that either rests on.
    """
    kept = _named_by_manifests(results)
    for plan in planning.all_plans(files):
        kept |= {item.folder for item in _planned(plan, results, prepared)}
    kept |= _rested_on(kept, results, prepared)
    items = [*stored.runs(results), *stored.data_sets(prepared)]
    whole = [item.folder for item in items if item.folder not in kept]
    parts = [part.folder for run in stored.runs(results) if run.folder in kept for part in stored.parts(run.folder)]
    left = [stored.left_over(data) for data in stored.data_sets(prepared) if data.folder in kept]
    return whole + [folder for folder in parts if folder not in kept] + [folder for folder in left if folder]


def size(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


def delete(folders: Iterable[Path]) -> None:
    """Remove folders; of one that is a link, only the link."""
    for folder in folders:
        if folder.is_symlink():
            folder.unlink()
        else:
            shutil.rmtree(folder)


def _planned(plan, results: Path, prepared: Path) -> Iterable[Stored]:
    return [planned.item for planned in planning.everything(plan, results, prepared).values()]


def _named_by_manifests(results: Path) -> set[Path]:
    manifests = itertools.chain(*(stored.manifests(results, kind).values() for kind in ("papers", "published")))
    return {item.folder for manifest in manifests for item in collected.named(results, manifest)}


def _rested_on(kept: set[Path], results: Path, prepared: Path) -> set[Path]:
    """The runs that kept results took adversarial examples from, and the data of all kept runs."""
    records = [item.record() for item in stored.everything(results) if item.folder in kept and item.finished]
    sources = {results / "runs" / name for record in records for name in record.get("source_digests", {})}
    runs = [Stored("run", folder) for folder in {*kept, *sources} if folder.parent == results / "runs"]
    try:
        data = {prepared / Path(run.record()["data"]).name for run in runs if run.finished}
    except KeyError as error:
        raise Problem(f"a run's record has no {error}: `verify` says which") from None
    return sources | data
