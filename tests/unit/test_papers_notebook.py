import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import papers_fixture
import pytest

from robustloss import papers
from robustloss.errors import Problem

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "ding2025.ipynb"
LIBRARY = Path(__file__).parents[2] / "workflow"
MANIFEST = "results/papers/ding2025/manifest.json"


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return papers_fixture.write(tmp_path)


@pytest.fixture(scope="module")
def code():
    return [cell for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code"]


def test_no_cell_defines_anything_or_holds_a_number(code):
    for cell in code:
        for node in ast.walk(ast.parse(cell.source)):
            assert not isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Lambda), cell.source
            number = isinstance(node, ast.Constant) and isinstance(node.value, int | float | complex)
            assert not number, cell.source


def test_the_first_code_cell_alone_is_tagged_parameters(code):
    assert [cell.metadata.get("tags", []) for cell in code] == [["parameters"]] + [[]] * (len(code) - 1)
    assert code[0].source == f'manifest = "{MANIFEST}"'


def test_the_notebook_is_kept_without_outputs(code):
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)
    assert nbformat.read(NOTEBOOK, as_version=4).metadata.kernelspec.name == "python3"


def test_every_table_and_figure_of_the_paper_is_shown_once(code):
    from robustloss.papers import ding2025

    shown = [name for cell in code for name in re.findall(r'^paper\.show\("(\w+)"\)$', cell.source, re.MULTILINE)]
    assert sorted(shown) == sorted([*ding2025.TABLES, *ding2025.FIGURES])


def test_the_notebooks_library_needs_no_torch():
    probe = "import sys, robustloss.papers.paper; sys.exit('torch' in sys.modules or 'papermill' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", probe], cwd=LIBRARY, check=False).returncode == 0


def test_rendering_writes_notebook_page_tables_and_figures(results, capsys):
    page = papers.render(NOTEBOOK, MANIFEST, results.parent)
    assert page == results.parent / "ding2025.html"
    written = {path.relative_to(results.parent).as_posix() for path in results.parent.rglob("*.*")}
    figures = {
        f"figures/{name}.{kind}"
        for name in ("figure2", "figure3", "figure4", "figure5", "summary")
        for kind in ("png", "pdf")
    }
    tables = {f"tables/table{number}.csv" for number in range(1, 5)}
    assert written == {"manifest.json", "ding2025.ipynb", "ding2025.html"} | figures | tables
    text = page.read_text(encoding="utf-8")
    assert "<script" not in text
    assert len(re.findall('<img[^>]*src="data:image/png;base64,', text)) == len(figures) / 2
    assert "No description has been provided" not in text
    assert "31.09" in text
    executed = nbformat.read(results.parent / "ding2025.ipynb", as_version=4)
    assert not [
        output for cell in executed.cells for output in cell.get("outputs", []) if output.output_type == "error"
    ]
    assert str(results.parents[3]) not in (results.parent / "ding2025.ipynb").read_text(encoding="utf-8")
    assert 'paper.show("figure5")' in capsys.readouterr().err


def test_a_failing_cell_is_one_sentence_and_leaves_no_file(results):
    run = next((results.parents[2] / "runs").glob("*table3-8*"))
    shutil.rmtree(run)
    with pytest.raises(
        Problem, match=r"ding2025\.ipynb: the cell 'paper\.overview\(\)' failed: run .*table3-8"
    ) as caught:
        papers.render(NOTEBOOK, MANIFEST, results.parent)
    assert "\n" not in str(caught.value)
    assert not list(results.parent.glob("*.html")) + list(results.parent.glob("*.ipynb"))


def test_what_is_not_a_notebook_is_one_sentence(results, tmp_path):
    with pytest.raises(Problem, match=r"absent\.ipynb is missing"):
        papers.render(tmp_path / "absent.ipynb", MANIFEST, results.parent)
    broken = tmp_path / "broken.ipynb"
    broken.write_text("{", encoding="utf-8")
    with pytest.raises(Problem, match=r"broken\.ipynb is not a notebook"):
        papers.render(broken, MANIFEST, results.parent)
