"""The page draws, in a real browser without a screen, what the library draws.

The browser runs a script of ours behind the page's own, which leaves its findings in the document.
"""

import base64
import importlib.util
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import sad_jax as sad

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
OPTIONS = (
    "--headless",
    "--no-sandbox",  # we may be root
    "--hide-scrollbars",
    "--use-gl=angle",  # WebGL without a GPU
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--window-size=600,500",
    "--virtual-time-budget=60000",
    "--dump-dom",
)
REPORT = """<script>
sadViewer.then(async (viewer) => {
  const pixels = (width, height, mode) => {
    const found = new Uint8Array(3 * width * height);
    for (const part of viewer.painter.parts(width, height, {mode}))
      for (let i = 0; i < part.width * part.height; i++) {
        const at = (part.y + Math.floor(i / part.width)) * width + part.x + (i % part.width);
        found.set(part.data.subarray(4 * i, 4 * i + 3), 3 * at);
      }
    return Array.from(found, (byte) => String.fromCharCode(byte)).join("");
  };
  const press = (key) =>
    document.body.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true}));
  const report = await (async () => { SCRIPT })();
  document.body.textContent = "#REPORT#" + btoa(JSON.stringify(report)) + "#END#";
});
</script></body>"""


@pytest.fixture(scope="module")
def browser():
    """The path of an installed browser; skips where there is none."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    return found or pytest.skip(f"no browser installed: none of {', '.join(BROWSERS)}")


@pytest.fixture
def run_in(browser, tmp_path):
    """``run_in(page, script)``: what the script returns, within the page."""

    def run(page, script: str):
        path = tmp_path / "page.html"
        path.write_text(page.html.replace("</body>", REPORT.replace("SCRIPT", script)))
        command = [browser, *OPTIONS, f"--user-data-dir={tmp_path / 'profile'}", path.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        _, found, rest = done.stdout.partition("#REPORT#")
        assert found, f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        return json.loads(base64.b64decode(rest.partition("#END#")[0]).decode("latin-1"))

    return run


def as_levels(text: str, shape: tuple[int, int]) -> np.ndarray:
    """Bytes of a script as a picture, float [H, W, 3] in [0, 1]."""
    return np.frombuffer(text.encode("latin-1"), np.uint8).reshape(*shape, 3) / 255


def near(picture: np.ndarray, expected: np.ndarray) -> float:
    """The share of pixels within a step of 8 bits."""
    expected = np.clip(expected, 0, 1)
    return np.mean(np.abs(picture - expected).max(-1) <= 1 / 255 + 1e-6)


@pytest.mark.slow
def test_pictures_equal_those_of_the_library(run_in, data):
    """A fitted diagram, a quarter as large, at its own size, at four times and at half of it."""
    sites, canvas = sad.load(data / "kodim23_half_1536_sites.txt")
    photo = sad.read_image(data / "kodim23_half.png")[::2, ::2]
    shape, large, small = (128, 192), (512, 768), (64, 96)
    sites, canvas = sad.resize(sites, canvas.shape, shape), sad.Canvas(shape, k=canvas.k)
    page = sad.viz.explore(sites, canvas, photo)
    sizes = ", ".join(f"pixels({w}, {h}, 'picture')" for h, w in (shape, large, small))
    modes = ", ".join(f"pixels(192, 128, '{mode}')" for mode in ("owners", "temperature", "error"))
    *pictures, owners, temperature, error = run_in(page, f"return [{sizes}, {modes}];")
    picture = np.asarray(sad.render(sites, canvas))
    assert near(as_levels(pictures[0], shape), picture) >= 0.999
    assert near(as_levels(pictures[1], large), sad.resample(sites, canvas, large)) >= 0.999
    assert near(as_levels(pictures[2], small), sad.resample(sites, canvas, small)) >= 0.98
    flat = sites.color[sad.owners(sites, canvas)]
    assert near(as_levels(owners, shape), flat) >= 0.999
    assert near(as_levels(temperature, shape), sad.viz.tau_map(sites, canvas)) >= 0.99
    expected = sad.viz.error_map(np.clip(picture, 0, 1), photo)
    assert np.abs(as_levels(error, shape) - expected).max(-1).mean() < 0.02


@pytest.mark.slow
def test_keys_pointer_and_slider(run_in, make_sites, reference):
    """What the page says of a site is what the sites hold; all can be done by keys."""
    sites = make_sites(40, shape=(24, 32))
    photo = np.linspace(0, 1, 24 * 32 * 3, dtype=np.float32).reshape(24, 32, 3)
    found = run_in(
        sad.viz.explore(sites, (24, 32), photo),
        """
        const {view, look} = viewer, says = {};
        press("2");
        says.mode = look.mode;
        says.pressed = document.querySelector("[data-mode=owners]").getAttribute("aria-pressed");
        for (const key of "bsm") press(key);
        says.layers = [look.lines, look.dots, look.ellipses];
        const [zoom, x] = [view.zoom, view.x];
        press("+");
        says.zoom = view.zoom / zoom;
        press("ArrowLeft");
        says.moved = (view.x - x) * view.zoom;
        press("0");
        says.fitted = view.zoom === zoom && view.x === x;
        press("]");
        says.split = look.split;
        press("i");
        says.chosen = look.chosen;
        const cells = document.querySelectorAll("#site td");
        says.cells = Array.from(cells, (cell) => Number(cell.textContent));
        press("Escape");
        says.hidden = document.querySelector("#site").hidden;
        const [left, top] = view.toStage(5.25, 7.5), at = {bubbles: true, pointerId: 1};
        const event = new PointerEvent("pointermove", at);
        Object.defineProperties(event, {offsetX: {value: left}, offsetY: {value: top}});
        viewer.stage.dispatchEvent(event);
        says.under = look.chosen;
        says.names = [...document.querySelectorAll("button, input, canvas[tabindex]")].filter(
          (e) => !(e.textContent.trim() || e.ariaLabel || e.labels?.length)).length;
        return says;
        """,
    )

    def owner(x, y) -> int:
        return int(reference.scores(sites, np.asarray([[x, y]]), 32).argmin())

    chosen = owner(15.5, 11.5)
    fields = [sites.position, sites.log_tau, sites.radius, sites.color]
    fields += [sites.direction, sites.log_aniso]
    cells = np.column_stack(fields)[chosen]
    assert (found["mode"], found["pressed"], found["layers"]) == ("owners", "true", [True] * 3)
    assert found["zoom"] == pytest.approx(1.25)
    assert found["moved"] == pytest.approx(-40)
    assert found["fitted"]
    assert found["split"] == pytest.approx(0.05)
    assert found["chosen"] == chosen
    np.testing.assert_allclose(found["cells"], cells, rtol=6e-4, atol=1e-6)
    assert found["hidden"]
    assert found["under"] == owner(5.25, 7.5)
    assert found["names"] == 0, "a control without a name"


@pytest.mark.slow
def test_without_webgl2_the_page_says_what_is_missing(run_in, make_sites):
    page = sad.viz.explore(make_sites(9), (12, 16))
    none = "HTMLCanvasElement.prototype.getContext = () => null;"
    page.html = page.html.replace('"use strict";', f'"use strict"; {none}')
    said = run_in(page, 'return [viewer, document.querySelector("#note").textContent];')
    assert said[0] is None
    assert "expected WebGL2, got none" in said[1]


@pytest.mark.slow
def test_axe_finds_nothing_serious(run_in, make_sites):
    """What axe-core knows of a page that everybody can use, with all that can be shown."""
    found = importlib.util.find_spec("axe_playwright_python")  # not imported: it asks for a browser
    if found is None:
        pytest.skip("axe-core is not installed: pip install --no-deps axe-playwright-python")
    axe = Path(*found.submodule_search_locations, "axe.min.js").read_text()
    page = sad.viz.explore(make_sites(40, shape=(24, 32)), (24, 32), np.zeros((24, 32, 3)))
    says = run_in(
        page,
        axe
        + """;
        for (const key of "bsmi") press(key);
        document.querySelector("details").open = true;
        const {violations, passes} = await axe.run();
        const serious = violations.filter(({impact}) => ["serious", "critical"].includes(impact));
        return [serious.map(({id}) => id), passes.length];
        """,
    )
    assert says[0] == []
    assert says[1] > 10
