"""What is finished and new goes to git and DVC; what is half-written or damaged is named and stays out."""

from dataclasses import dataclass, field
from pathlib import Path

from robustloss import runs
from robustloss.code import nearest
from robustloss.data import prepared
from robustloss.errors import Problem
from robustloss.files import read_json, replacing, sha256
from robustloss.licences import FREE, SHARED
from robustloss.lineage import collected, stored
from robustloss.progress import say
from robustloss.publishing import claims_table, named, store
from robustloss.publishing.named import BYTES, Named

# More than this does not travel with a repository.
LIMIT = 100_000_000
PAPER_FILES = (*collected.NUMBERS, collected.RECORD)
LIST = "to-commit.txt"


@dataclass
class Publication:
    """What goes to git (`numbers`, `papers`) and DVC (`outs` by .dvc file and path), and sentences on what does not.

    Of the runs in `alone` the numbers were published before, and the bytes are not here.
    """

    alone: set[str] = field(default_factory=set)
    numbers: list[Path] = field(default_factory=list)
    outs: dict[Path, dict[str, dict]] = field(default_factory=dict)
    papers: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def attempt(self, add, *arguments) -> None:
        """Call `add`; what it finds unfinished or damaged is left out."""
        try:
            add(self, *arguments)
        except Problem as problem:
            self.left_out.append(str(problem))

    def send(self, remote: str, default: str) -> None:
        """Name the remote that a clone will look at; the default one needs no name."""
        for outs in self.outs.values():
            for out in outs.values():
                out.pop("remote", None)
                out |= {} if remote == default else {"remote": remote}


def publish(
    results: Path, papers: list[str] | None, data: list[str] | None, remote: str | None, private: bool = False
) -> None:
    """Add what is finished of the runs that manifests name, push it, and print the lines for git.

    Bytes are those of runs on the data sets `data` (None: on all; ["none"]: on none, so that numbers alone go along).
    They go to `remote`, or (None) to where they are already, else to the default one. Data sets go along as far as they
    may be passed on to whoever reads the remote; of a `private` one that is whoever has them already. A file is added
    only if it is what its record vouches for. Raises Problem if a remote fails: then nothing is printed for git, and
    the same command goes on.
    """
    found = named.read(results / "papers", papers)
    if not found.manifests:
        raise Problem(f"{results}/papers has no paper yet: run the workflow first, or name another folder of results")
    if data == ["none"]:
        data = []
    _check_names(found, data)
    known, default = store.remotes()
    if remote and remote not in known:
        raise Problem(f"there is no remote '{remote}' in .dvc/config; there are {', '.join(known)}")
    within = Path(known[remote or default]).is_relative_to(Path.cwd())
    if private and within:
        raise Problem(f"{known[remote or default]} travels with the repository: name a remote that is private")
    gathered = _gathered(results, found, data, None if private else FREE if within else SHARED)
    for sentence in gathered.left_out:
        say(f"left out: {sentence}")
    if remote:
        gathered.send(remote, default)
    _refuse_much(gathered.outs, known, default)
    for file, outs in gathered.outs.items():
        store.write(file, outs)
    store.commit(gathered.outs)
    for where, files in store.by_remote(gathered.outs, default).items():
        _push(files, where, known)
        say(f"{len(files)} runs and data sets are at the remote {where} ({known[where]})")
    copies = [_copied(results, paper) for paper in gathered.papers]
    pages = [Path("REPRODUCING.md")] if copies and Path("REPRODUCING.md").is_file() else []
    for page in pages:
        claims_table.write(results, page)
    files = [*gathered.numbers, *gathered.outs, *copies, *pages, Path(".dvc/config")]
    _print_lines(results, files, Path(known[default]))


def _check_names(found: Named, data: list[str] | None) -> None:
    """Refuse a data set that nothing was trained on."""
    known = {spec["name"] for spec in found.data().values()}
    for name in data or ():
        if name not in known:
            raise Problem(f"no run is on the data set '{name}'{nearest(name, known)}")


def _gathered(results: Path, found: Named, data: list[str] | None, free: tuple[str, ...] | None) -> Publication:
    gathered = Publication(named.numbers_alone(results))
    for run, parts in found.runs.items():
        gathered.attempt(_add_run, run, parts, data)
    sets = {name: spec for name, spec in found.data().items() if data is None or spec["name"] in data}
    for name, spec in sets.items():
        gathered.attempt(_add_data, name, spec, free)
    for paper, manifest in found.manifests.items():
        gathered.attempt(_add_paper, results / "papers" / paper, manifest)
    return gathered


def _add_run(gathered: Publication, run: Path, parts: list[Path], data: list[str] | None) -> None:
    published = store.read(run / BYTES)
    tracked = {folder: out for folder, out in published.items() if not _removed(run / folder, parts)}
    alone = run.name in gathered.alone
    numbers, folders = _whole(run / "run.json", run, tracked, alone)
    # What was published before is committed again with the rest, so it must be whole as well.
    before = [(run / folder).parent for folder in tracked if folder.endswith("/samples")]
    for part in dict.fromkeys([*parts, *before]):
        try:
            small, large = _whole(stored.record_of(part), run, tracked, alone)
        except Problem as problem:
            gathered.left_out.append(str(problem))
            continue
        numbers, folders = numbers + small, folders | large
    gathered.numbers += numbers
    if data is not None and read_json(run / "run.json")["spec"]["data"]["name"] not in data:
        return
    for folder in tracked:
        if folder not in folders and (run / folder).is_dir():
            raise Problem(f"{run / folder} is not as it was published: delete it, and `make pull` restores it")
    outs = tracked | {folder: tracked.get(folder, {"path": folder}) for folder in sorted(folders)}
    absent = [folder for folder in outs if not (run / folder).is_dir()]
    if not absent:
        gathered.outs[run / BYTES] = outs
    elif outs.keys() == published.keys():
        gathered.numbers.append(run / BYTES)
    else:
        raise Problem(f"{run} has other outcomes now, but {absent[0]}, published before, is not here: pull it first")


def _removed(samples: Path, parts: list[Path]) -> bool:
    """Whether outcomes were of something that no manifest names any more and that somebody has deleted."""
    part = samples.parent
    return samples.name == "samples" and part not in parts and not stored.record_of(part).is_file()


def _whole(record: Path, run: Path, tracked: dict[str, dict], alone: bool) -> tuple[list[Path], set[str]]:
    """The small files and, below `run`, the folders of bytes that a record vouches for.

    Raises Problem for a record that is not there yet, and for a file that is not what its record says. Bytes that are
    tracked and not here were published before; those of a run whose numbers are published `alone` are nowhere.
    """
    if not record.is_file():
        raise Problem(f"{record.parent} is not finished: it has no {record.name}")
    numbers, folders = [record], set()
    for name, digest in read_json(record).get("files", {}).items():
        path = record.parent / name
        folder = path.parent.relative_to(run).as_posix()
        large = path.parent.name in ("weights", "samples")
        if large and (folder in tracked or alone) and not path.parent.is_dir():
            continue
        if not path.is_file() or sha256(path) != digest:
            raise Problem(f"{path} is {'damaged' if path.is_file() else 'missing'}, although {record} vouches for it")
        folders |= {folder} if large else set()
        numbers += [] if large else [path]
    return numbers, folders


def _add_data(gathered: Publication, name: str, spec: dict, free: tuple[str, ...] | None) -> None:
    """A prepared data set and the raw files that it was taken from, if it is among the `free` (None: all are).

    What is published already stays where it is.
    """
    may, published = free is None or spec["name"] in free, False
    for folder in [Path("data/prepared") / name, _raw(name, spec)]:
        file = folder.with_name(f"{folder.name}.dvc")
        tracked = store.read(file)
        published |= bool(tracked)
        if may and folder.is_dir():
            if folder.parent.name == "prepared":
                prepared.verify(folder)
            gathered.outs[file] = tracked or {folder.name: {"path": folder.name}}
        elif tracked:
            gathered.numbers.append(file)
    if not may and not published:
        why = "does not travel with the repository; `make publish REMOTE=NAME` takes it to another remote"
        if spec["name"] not in SHARED:
            why = "is not passed on; `make publish REMOTE=NAME PRIVATE=yes` takes it where only those read who have it"
        raise Problem(f"data/prepared/{name}: {spec['name']} {why}")


def _add_paper(gathered: Publication, folder: Path, manifest: dict) -> None:
    """A paper is shown again from what git has of its runs, so all of them must be there."""
    records = [Path(entry["directory"]) / "run.json" for _, _, entry in stored.entries(manifest)]
    missing = {*records, *map(Path, runs.results(manifest))} - {*gathered.numbers}
    if missing:
        raise Problem(f"{folder} stays as it was published: {min(missing).parent}, which it names, is left out")
    if not (folder / f"{folder.name}.html").is_file():
        raise Problem(f"{folder} stays as it was published: it has no page yet")
    for problem in collected.problems(folder.parents[1], folder, manifest):
        raise Problem(f"{folder} stays as it was published: {problem}")
    for path, expected in collected.vouched(folder).items():
        if not path.is_file() or sha256(path) != expected:
            raise Problem(f"{folder} stays as it was published: {path.name} is not as it was made; make it again")
    gathered.papers.append(folder.name)


def _raw(name: str, spec: dict) -> Path:
    """The folder of a data set's raw files: of the clips that were drawn, or its publisher's."""
    planned = runs.Plan()
    runs.add_data(planned, name, spec, "data/raw")
    return Path("data/raw") / next(iter(planned.drawn), spec["name"])


def _refuse_much(outs: dict[Path, dict[str, dict]], known: dict[str, str], default: str) -> None:
    """Too much for a default remote that is a folder of this repository."""
    new = [
        file.parent / path
        for file, found in outs.items()
        for path, out in found.items()
        if "md5" not in out and "remote" not in out
    ]
    size = sum(path.stat().st_size for folder in new for path in folder.rglob("*") if path.is_file())
    if size > LIMIT and Path(known[default]).is_relative_to(Path.cwd()):
        raise Problem(
            f"{size / 1e6:.0f} MB would go into {known[default]}, which travels with the repository: name the data "
            "sets whose runs are to go there (--data mnist), or another remote (--remote NAME)"
        )


def _push(files: list[Path], remote: str, known: dict[str, str]) -> None:
    try:
        store.push(files, remote)
    except Problem as problem:
        raise Problem(
            f"the remote {remote} ({known.get(remote, 'not configured')}) did not take everything ({problem}): nothing "
            "is lost here; mend it and give the same command again before anything is committed"
        ) from None


def _copied(results: Path, paper: str) -> Path:
    """Copy a paper's files to where git keeps them, in place of those published before; their folder."""
    source, target = results / "papers" / paper, results / "published" / paper
    before = {path for path in target.rglob("*") if path.is_file()}
    after = set()
    for path in (path for pattern in PAPER_FILES for path in source.glob(pattern)):
        copy = target / path.relative_to(source)
        with replacing(copy, "wb") as stream:
            stream.write(path.read_bytes())
        after.add(copy)
    for path in before - after:
        path.unlink()
    return target


def _print_lines(results: Path, files: list[Path], shelf: Path) -> None:
    """What to type; the default remote goes along where it is a folder of this repository."""
    own = [shelf.relative_to(Path.cwd())] if shelf.is_relative_to(Path.cwd()) and shelf.is_dir() else []
    with replacing(results / LIST) as stream:
        stream.writelines(f"{path.as_posix()}\n" for path in sorted({*files, *own}))
    print(f"git add --pathspec-from-file={results / LIST}")
    print('git commit -m "Results"')
    print("git push")
