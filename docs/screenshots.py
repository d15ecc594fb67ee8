"""Screenshots of the viewer and of these pages, light and dark; or what axe-core finds on them.

    pip install -e '.[docs]' axe-playwright-python && mkdocs build && python docs/screenshots.py

With ``--check`` it asks axe-core about every page instead, and fails where that finds something
serious. The browser is an installed Chromium or Chrome, or Playwright's own.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import http.server
import importlib.resources
import io
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).parents[1]
OUT = Path(__file__).parent / "screens"
SITE = ROOT / "site"
GL = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
SCHEMES = ("light", "dark")
VIEWER = {"width": 720, "height": 460}
READER = {"width": 1100, "height": 760}
GAP = 8  # pixels between screenshots
MODES, LAYERS = "1234", "bsm"  # keys of the viewer
LOOKS = [  # zoom, the point in the middle, keys
    (1.8, (191.5, 127.5), ""),
    (7, (238, 78), "b"),
    (40, (233, 84), "bsmi"),
    (40, (233, 84), "2b"),
]
VIEWER_PAGE = "figures/viewer.html"
PAGES = ("index.html", "howto/choosing/index.html", "api/index.html")
SERIOUS = ("serious", "critical")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="ask axe-core instead")
    args = parser.parse_args()
    every = [str(path.relative_to(SITE)) for path in sorted(SITE.rglob("*.html"))]
    found = 0
    with sync_playwright() as play, served(SITE) as root:
        path = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
        browser = play.chromium.launch(executable_path=path, args=GL)
        for scheme in SCHEMES:
            page = browser.new_page(base_url=root, color_scheme=scheme, viewport=VIEWER)
            if args.check:
                found += sum(check(page, name, scheme) for name in every)
                continue
            show_viewer(page, scheme)
            page.set_viewport_size(READER)
            write(f"site_{scheme}", [[shot(open_(page, name)) for name in PAGES]])
        browser.close()
    sys.exit(f"{found} serious findings of axe-core" if found else None)


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files and says nothing of it."""

    def log_message(self, *_) -> None:
        pass


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a folder, as long as it lasts."""
    handler = functools.partial(Quiet, directory=folder)
    with http.server.ThreadingHTTPServer(("localhost", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://localhost:{server.server_port}/"
        server.shutdown()


def show_viewer(page: Page, scheme: str) -> None:
    """Every mode, and three zooms with what can be drawn above."""
    open_(page, VIEWER_PAGE)
    page.wait_for_function("window.sadViewer && sadViewer.then(Boolean)")
    modes = []
    for key in MODES:
        page.keyboard.press(key)
        modes.append(sharp_shot(page))
    write(f"viewer_modes_{scheme}", [modes[:2], modes[2:]])
    page.keyboard.press(MODES[0])
    zooms = []
    for zoom, (x, y), keys in LOOKS:
        page.evaluate(
            "async ([zoom, x, y]) => { const viewer = await sadViewer;"
            " Object.assign(viewer.view, {zoom, x, y, fitted: false}); viewer.redraw(); }",
            [zoom, x, y],
        )
        for key in keys:
            page.keyboard.press(key)
        zooms.append(sharp_shot(page))
        for key in [*(set(keys) & set(LAYERS)), "Escape", MODES[0]]:
            page.keyboard.press(key)
    write(f"viewer_zooms_{scheme}", [zooms[:2], zooms[2:]])


def open_(page: Page, name: str) -> Page:
    page.goto(name)
    page.wait_for_timeout(600)  # for what the theme does after loading
    return page


def shot(page: Page) -> Image.Image:
    page.wait_for_timeout(400)
    return Image.open(io.BytesIO(page.screenshot())).convert("RGB")


def sharp_shot(page: Page) -> Image.Image:
    """The viewer as it is at rest; without a GPU it comes there by and by."""
    page.wait_for_timeout(400)
    page.evaluate("async () => { const viewer = await sadViewer; viewer.rest(1); viewer.draw(1); }")
    return shot(page)


def write(name: str, rows: list[list[Image.Image]]) -> None:
    """Screenshots of one size, side by side and below each other."""
    width, height = rows[0][0].size
    size = len(rows[0]) * (width + GAP) - GAP, len(rows) * (height + GAP) - GAP
    sheet = Image.new("RGB", size, "gray")
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            sheet.paste(picture, (j * (width + GAP), i * (height + GAP)))
    OUT.mkdir(exist_ok=True)
    sheet.save(OUT / f"{name}.webp", quality=75, method=6)


def check(page: Page, name: str, scheme: str) -> int:
    """How many serious findings axe-core has on a page; it tells of them."""
    open_(page, name).evaluate(axe())
    results = page.evaluate("axe.run({iframes: false})")
    serious = [found for found in results["violations"] if found["impact"] in SERIOUS]
    for found in serious:
        places = ", ".join(str(node["target"]) for node in found["nodes"][:3])
        print(f"{name}, {scheme}: {found['id']}: {found['help']}: {places}", flush=True)
    return len(serious)


def axe() -> str:
    return importlib.resources.files("axe_playwright_python").joinpath("axe.min.js").read_text()


if __name__ == "__main__":
    main()
