"""The notebooks run from top to bottom, as a reader would run them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def cells(notebook: Path) -> list[dict]:
    return [c for c in json.loads(notebook.read_text())["cells"] if c["cell_type"] == "code"]


def test_there_are_five_with_their_pictures():
    assert len(NOTEBOOKS) == 5
    for notebook in NOTEBOOKS:
        shown = [o for cell in cells(notebook) for o in cell["outputs"]]
        assert any("image/png" in output.get("data", {}) for output in shown)
        assert not any(output["output_type"] == "error" for output in shown)


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_prints_what_it_shows(notebook):
    """All code cells in one process; the last expression of a cell is shown, if it can be."""
    program = "import ast\nspace = {}\n"
    for cell in cells(notebook):
        program += f"cell = ast.parse({''.join(cell['source'])!r})\n"
        program += (
            "shown = isinstance(cell.body[-1], ast.Expr) and cell.body.pop().value\n"
            "exec(compile(cell, 'cell', 'exec'), space)\n"
            "value = shown and eval(compile(ast.Expression(shown), 'cell', 'eval'), space)\n"
            "getattr(value, '_repr_html_', lambda: None)()\n"
        )
    environment = os.environ | {"MPLBACKEND": "agg", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(
        command, cwd=FOLDER, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
