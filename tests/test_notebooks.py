"""The notebooks run from top to bottom, as a reader would run them."""

import ast
import json
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
FEWER = {  # steps where a test is no wiser for more: what a reader runs, and what the test does
    "3_batches": ("for i in tqdm(range(150))", "for i in tqdm(range(30))"),
    "5_network_that_predicts_sites": ("STEPS, BATCH = 400, 16", "STEPS, BATCH = 40, 16"),
}


def cells(notebook: Path) -> list[dict]:
    return [c for c in json.loads(notebook.read_text())["cells"] if c["cell_type"] == "code"]


def shortened(notebook: Path) -> list[str]:
    """The code of its cells, with fewer steps."""
    sources = ["".join(cell["source"]) for cell in cells(notebook)]
    if notebook.stem not in FEWER:
        return sources
    assert sum(source.count(FEWER[notebook.stem][0]) for source in sources) == 1
    return [source.replace(*FEWER[notebook.stem]) for source in sources]


def test_there_are_five_with_their_pictures():
    assert len(NOTEBOOKS) == 5
    for notebook in NOTEBOOKS:
        shown = [o for cell in cells(notebook) for o in cell["outputs"]]
        assert any("image/png" in output.get("data", {}) for output in shown)
        assert not any(output["output_type"] == "error" for output in shown)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_a_notebook_shows_is_free_of_warnings_and_places(notebook):
    """A warning names a folder of the machine on which the notebook ran."""
    text = notebook.read_text()
    assert not [word for word in ("Warning", "site-packages", "/home/", "/tmp/") if word in text]


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # as a reader has it
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_prints_what_it_shows(notebook, monkeypatch):
    """All code cells, from its folder; the last expression of a cell is shown, if it can be."""
    monkeypatch.chdir(FOLDER)
    monkeypatch.syspath_prepend(FOLDER)
    plt.switch_backend("agg")
    space: dict = {}
    for source in shortened(notebook):
        cell = ast.parse(source)
        shown = cell.body.pop().value if isinstance(cell.body[-1], ast.Expr) else None
        exec(compile(cell, notebook.name, "exec"), space)
        if shown:
            value = eval(compile(ast.Expression(shown), notebook.name, "eval"), space)
            getattr(value, "_repr_html_", lambda: None)()
    plt.close("all")
