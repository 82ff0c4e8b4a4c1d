"""What a paper claims, held against our runs: docs/claims.md has the rule."""

from pathlib import Path


def ledger(paper) -> list:
    """The `Verdict` of each claim in the manifest of a `Paper`, in its order.

    Raises Problem for a claim that names what is not there, and for a file of a run that is missing or not whole.
    """
    from robustloss.claims.comparing import ledger

    return ledger(paper.collection)


def show(paper):
    """Write claims.csv and comparisons.csv beside the manifest of a `Paper`, and return what a notebook displays.

    A paper without claims has no such files.
    """
    # A plan, which only checks the names in claims, must not wait for pandas.
    from robustloss.claims import page

    return page.show(paper.collection, ledger(paper))


def write_summary(results: Path, readme: Path) -> None:
    """Put a table of all papers' verdicts between the markers of a readme; a Problem where they are not there."""
    from robustloss.claims import summary

    summary.write(results, readme)
