import ast
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType

import nbformat
import papers_fixture
import pytest

from robustloss import papers
from robustloss.errors import Problem

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
NOTEBOOK = NOTEBOOKS / "ding2025.ipynb"
LIBRARY = Path(__file__).parents[2] / "workflow"
MANIFEST = "results/papers/ding2025/manifest.json"


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return papers_fixture.write(tmp_path)


@pytest.fixture(params=["chen2019", "ding2025", "pang2020", "song2022"])
def name(request):
    return request.param


@pytest.fixture
def code(name):
    cells = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4).cells
    return [cell for cell in cells if cell.cell_type == "code"]


def test_no_cell_defines_anything_or_holds_a_number(code):
    for cell in code:
        for node in ast.walk(ast.parse(cell.source)):
            assert not isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Lambda), cell.source
            number = isinstance(node, ast.Constant) and isinstance(node.value, int | float | complex)
            assert not number, cell.source


def test_the_first_code_cell_alone_is_tagged_parameters(code, name):
    assert [cell.metadata.get("tags", []) for cell in code] == [["parameters"]] + [[]] * (len(code) - 1)
    assert code[0].source == f'manifest = "results/papers/{name}/manifest.json"'


def test_the_notebook_is_kept_without_outputs(code, name):
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)
    assert nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4).metadata.kernelspec.name == "python3"


def test_every_table_and_figure_of_the_paper_is_shown_once(code, name):
    module = import_module(f"robustloss.papers.{name}")
    shown = [item for cell in code for item in re.findall(r'^paper\.show\("(\w+)"\)$', cell.source, re.MULTILINE)]
    assert sorted(shown) == sorted([*module.TABLES, *module.FIGURES])


def test_the_notebooks_library_needs_no_torch():
    probe = "import sys, robustloss.papers.paper; sys.exit('torch' in sys.modules or 'papermill' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", probe], cwd=LIBRARY, check=False).returncode == 0


def test_rendering_writes_notebook_page_tables_and_figures(results, capsys):
    page = papers.render(NOTEBOOK, MANIFEST, results.parent)
    assert page == results.parent / "ding2025.html"
    written = {path.relative_to(results.parent).as_posix() for path in results.parent.rglob("*.*")}
    figures = {
        f"figures/{name}.{kind}"
        for name in (*(f"figure{number}" for number in range(1, 6)), "figure_a1", "figure_a2", "figure_a3", "summary")
        for kind in ("png", "pdf")
    }
    tables = {f"tables/{name}.csv" for name in (*(f"table{number}" for number in range(1, 7)), "audits")}
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


def test_a_paper_of_cells_is_rendered_without_stored_tables(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    manifest = papers_fixture.write_chen2019(tmp_path, rows={"mnist": {"XE": 0.6, "GCE exact": 0.7}})
    page = papers.render(NOTEBOOKS / "chen2019.ipynb", manifest.relative_to(tmp_path), manifest.parent)
    written = {path.relative_to(manifest.parent).as_posix() for path in manifest.parent.rglob("*.*")}
    tables = {f"tables/{name}.csv" for name in (*(f"table{number}" for number in range(2, 7)), "audits")}
    names = (*(f"figure{number}" for number in range(1, 5)), "summary", "summary_cifar10", "landscape")
    pictures = {f"figures/{name}.{kind}" for name in names for kind in ("png", "pdf")}
    assert written == {"manifest.json", "chen2019.ipynb", "chen2019.html"} | tables | pictures
    text = page.read_text(encoding="utf-8")
    for shown in ("87.66", "60.0 [55.0, 65.0]", "not in the paper"):
        assert shown in text


def test_a_paper_without_tables_and_figures_has_an_overview_and_refuses_names(results):
    paper = papers.load(MANIFEST)
    empty = replace(paper, module=ModuleType("empty"))
    assert "ding2025" in empty.overview().data.set_index("what").loc["paper", "value"]
    with pytest.raises(Problem, match="ding2025 has no 'table1': there are none"):
        empty.show("table1")


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
