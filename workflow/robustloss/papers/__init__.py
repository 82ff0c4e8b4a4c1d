"""What a paper prints beside what our runs found: tables, figures and the notebook that shows them."""

from pathlib import Path


def load(manifest: str | Path):
    """The `Paper` of a manifest: its `show(name)` writes and displays one table or figure.

    Raises Problem where a file of a run is missing or not whole, naming the run.
    """
    # A command that never draws must not wait for pandas and matplotlib.
    from robustloss.papers.paper import load

    return load(manifest)


def render(notebook: str | Path, manifest: str | Path, directory: str | Path) -> Path:
    """Execute `notebook` with `manifest`; write <directory>/<paper>.ipynb and .html, return the path of the latter.

    Raises Problem naming the cell and its error; then neither file is touched.
    """
    # The notebook's own kernel must not wait for papermill.
    from robustloss.papers.rendering import render

    return render(notebook, manifest, directory)
