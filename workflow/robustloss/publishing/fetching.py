"""What the manifests of papers name, fetched from the remotes that it was published to."""

from pathlib import Path

from robustloss.errors import Problem
from robustloss.progress import say
from robustloss.publishing import named, store
from robustloss.publishing.named import BYTES


def pull(results: Path, papers: list[str] | None) -> None:
    """Fetch the weights, outcomes and data of `papers` (None: of all), as far as they are published.

    What lies at another remote than the default one may need credentials: if that fails, it is said and left out.
    """
    found = named.read(results / "published", papers)
    if not found.manifests:
        raise Problem(f"{results}/published has no paper: nothing is published yet")
    files = [run / BYTES for run in found.runs]
    files += [Path("data/prepared") / f"{name}.dvc" for name in found.data()]
    known, default = store.remotes()
    at = store.by_remote(filter(Path.is_file, files), default)
    if not at:
        raise Problem(
            f"no network of {', '.join(found.manifests)} is published, only what was measured of them: delete their "
            "folders in results/runs, and Snakemake trains them again"
        )
    fetched = {}
    for remote, wanted in at.items():
        try:
            store.pull(wanted, remote)
            fetched[remote] = len(wanted)
        except Problem as problem:
            sentence = f"the remote {remote} ({known.get(remote, 'not configured')}) did not give everything: {problem}"
            if remote == default:
                raise Problem(sentence) from None
            say(f"left out: {sentence}")
    where = ", ".join(f"{count} from {remote}" for remote, count in fetched.items()) or "none"
    print(f"of {len(files)} runs and data sets fetched: {where}")
