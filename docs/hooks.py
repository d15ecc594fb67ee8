"""What mkdocs does before it builds: draws figures, and brings others and the notebooks here."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).parent


def on_pre_build(config) -> None:
    bring("notebooks/*.ipynb", "tutorials")
    bring("experiments/results/*.png", "figures/results")
    if not (DOCS / "figures/viewer.html").exists():  # drawn once; remove the folder to draw anew
        subprocess.run([sys.executable, str(DOCS / "figures.py")], check=True)


def bring(files: str, folder: str) -> None:
    """Copies files of the project into a folder of the pages."""
    (DOCS / folder).mkdir(parents=True, exist_ok=True)
    for path in DOCS.parent.glob(files):
        shutil.copy2(path, DOCS / folder)
