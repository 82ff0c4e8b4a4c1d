"""Finished results in git and DVC: publishing them, fetching what a paper needs, attacking published networks again.

Git has the small numbers, DVC the bytes: each run's weights and per-sample outcomes behind one `bytes.dvc` in its
folder, each data set behind one `.dvc` beside its own. All functions work in the repository's root.
"""

from pathlib import Path


def publish(
    results: Path, papers: list[str] | None, data: list[str] | None, remote: str | None, private: bool = False
) -> None:
    """Add what is finished and new of the runs that manifests name, push it, and print the lines for git."""
    from robustloss.publishing.publication import publish

    publish(results, papers, data, remote, private)


def pull(results: Path, papers: list[str] | None) -> None:
    """Fetch the weights, outcomes and data that the manifests of `papers` (None: of all) name."""
    from robustloss.publishing.fetching import pull

    pull(results, papers)


def agree(results: Path) -> None:
    """Print how the outcomes below <results>/again compare with the published ones, image by image."""
    from robustloss.publishing.agreement import write

    write(results)


def appendix(results: Path, page: Path) -> None:
    """Put the claims with their results and hours between the markers of `page`."""
    from robustloss.publishing.claims_table import write

    write(results, page)
