"""A folder of pages, read from disk and without a network: what was printed, what we got, what each number rests on."""

from pathlib import Path


def write(results: str | Path, out: str | Path) -> Path:
    """Write the pages of all papers below `results` into the folder `out`; return the path of the first page.

    What a paper or a run lacks is said on the pages, and the others are shown. Raises Problem where no paper is found.
    """
    from robustloss.report import pages, reading

    return pages.write(reading.read(Path(results)), Path(out))
