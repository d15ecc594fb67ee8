"""What mkdocs does before it builds: draws the figures, and brings the notebooks here."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).parent


def on_pre_build(config) -> None:
    tutorials = DOCS / "tutorials"
    tutorials.mkdir(exist_ok=True)
    for notebook in (DOCS.parent / "notebooks").glob("*.ipynb"):
        shutil.copy2(notebook, tutorials)
    if not (DOCS / "figures/viewer.html").exists():  # drawn once; remove the folder to draw anew
        subprocess.run([sys.executable, str(DOCS / "figures.py")], check=True)
