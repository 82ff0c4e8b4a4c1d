"""A notebook executed with its manifest, kept as .ipynb and as one .html file that needs no network."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
import papermill
from jupyter_client.kernelspec import NoSuchKernel
from nbconvert.exporters import HTMLExporter
from papermill.exceptions import PapermillExecutionError

import robustloss
from robustloss import files
from robustloss.errors import Problem
from robustloss.progress import say

KERNEL = "python3"
# The lab page without the scripts that it would load from elsewhere, and with our description of each picture.
TEMPLATE = """
{%- extends 'lab/index.html.j2' -%}
{%- block html_head_js -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}
{%- block data_png scoped -%}
<div class="jp-RenderedImage jp-OutputArea-output">
<img src="data:image/png;base64,{{ output.data['image/png'] | escape_html }}"
 alt="{{ output | get_metadata('alt', 'image/png') | escape_html }}"
 width="{{ output | get_metadata('width', 'image/png') }}">
</div>
{%- endblock -%}
"""


def render(notebook: str | Path, manifest: str | Path, directory: str | Path) -> Path:
    """Execute `notebook` in the working directory; write <directory>/<paper>.ipynb and .html, return the latter."""
    title = files.read_json(manifest)["paper"]
    executed = _execute(Path(notebook), str(manifest))
    executed.metadata.pop("papermill", None)
    executed.metadata["title"] = title
    # Without the cells' numbers the tables have the whole width of the page.
    exporter = HTMLExporter(
        raw_template=TEMPLATE, embed_images=True, exclude_input_prompt=True, exclude_output_prompt=True
    )
    page, _ = exporter.from_notebook_node(executed)
    for suffix, text in ((".ipynb", nbformat.writes(executed) + "\n"), (".html", page)):
        with files.replacing(Path(directory) / f"{title}{suffix}") as stream:
            stream.write(text)
    return Path(directory) / f"{title}.html"


def _execute(notebook: Path, manifest: str) -> nbformat.NotebookNode:
    cells = _cells(notebook)

    def report(cell, cell_index: int) -> None:
        say(f"{notebook.name}, cell {cell_index + 1} of {cells + 1}: {_last_line(cell.source)}")

    with TemporaryDirectory() as folder, _library_path():
        try:
            return papermill.execute_notebook(
                notebook,
                Path(folder) / notebook.name,
                parameters={"manifest": manifest},
                kernel_name=KERNEL,
                progress_bar=False,
                cwd=Path.cwd(),
                on_cell_execute=report,
                # Else every log opens with the kernel's advice on encrypting its connection within this machine.
                extra_arguments=["--log-level=ERROR"],
            )
        except PapermillExecutionError as error:
            raise Problem(f"{notebook}: {_failed(error)}") from None
        except NoSuchKernel:
            raise Problem(f"{notebook}: there is no Jupyter kernel '{KERNEL}': install ipykernel") from None


def _failed(error: PapermillExecutionError) -> str:
    """The cell and its error; a Problem's own sentence says enough without its class."""
    name = "" if error.ename == "Problem" else f"{error.ename}: "
    return f"the cell '{_last_line(error.source)}' failed: {name}{error.evalue}"


def _last_line(source: str) -> str:
    return source.strip().rpartition("\n")[2]


def _cells(notebook: Path) -> int:
    try:
        return len(nbformat.read(notebook, as_version=4).cells)
    except FileNotFoundError:
        raise Problem(f"{notebook} is missing: restore it from git") from None
    except (nbformat.reader.NotJSONError, nbformat.ValidationError, UnicodeDecodeError) as error:
        raise Problem(f"{notebook} is not a notebook ({error}): restore it from git") from None


@contextmanager
def _library_path() -> Iterator[None]:
    """The kernel imports this very library, wherever the working directory is."""
    before = os.environ.get("PYTHONPATH")
    library = str(Path(robustloss.__file__).parents[1])
    os.environ["PYTHONPATH"] = os.pathsep.join([library, *([before] if before else [])])
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
