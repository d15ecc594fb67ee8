// The page: reads what is embedded, draws when something changes, and tells of the site at hand.

const QUICK = 40, PATIENT = 2500; // milliseconds that a frame may take, moving and at rest

class Viewer {
  constructor(diagram, photo) {
    this.diagram = diagram;
    this.about = diagram.about;
    this.stage = document.querySelector("#picture");
    this.overlay = document.querySelector("#overlay");
    this.slider = document.querySelector("#slider");
    this.modes = photo ? MODES : MODES.slice(0, 3);
    this.look = {mode: "picture", lines: false, dots: false, ellipses: false, chosen: -1, split: 0};
    this.painter = new Painter(this.stage, diagram, photo);
    this.coarse = 1; // pixels of the screen a side of a fragment, while things change
    for (const part of this.painter.parts(1, 1, this.look)); // compiles, before times are taken
    this.view = new View(this.stage, this.about);
    for (const part of document.querySelectorAll("[data-photo]")) part.hidden = !photo;
    document.querySelector("#width").value = this.about.width;
    new ResizeObserver(() => { this.view.resized(); this.redraw(); }).observe(this.stage);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.redraw());
    this.stage.addEventListener("webglcontextlost", (event) => {
      event.preventDefault();
      tell("The browser has taken the graphics memory away; it draws again when it gives it back.");
    });
    this.stage.addEventListener("webglcontextrestored", () => {
      this.painter = new Painter(this.stage, diagram, photo);
      this.redraw();
    });
    listen(this);
    this.mark();
    this.redraw();
  }

  // Where a frame takes long (no GPU), frames are coarse while things change, and sharper at rest.
  redraw() {
    if (this.asked) return;
    this.asked = true;
    requestAnimationFrame(() => {
      this.asked = false;
      const took = this.draw(this.coarse);
      this.rest(this.coarse, took);
      this.coarse = clamp(this.coarse * clamp(Math.sqrt(took / QUICK), 0.5, 2), 1, 16);
    });
  }

  // Draws again, twice as sharp, until all is as sharp as the screen or takes too long.
  rest(coarse, took) {
    clearTimeout(this.resting);
    if (coarse === 1 || took > PATIENT) return;
    this.resting = setTimeout(() => {
      const sharper = Math.max(1, coarse / 2);
      this.rest(sharper, this.draw(sharper));
    }, 200);
  }

  // Returns how many milliseconds it took.
  draw(coarse) {
    const {stage, view, look} = this, [width, height] = view.extent, screen = devicePixelRatio || 1;
    const ratio = screen / coarse, before = performance.now();
    stage.width = Math.round(width * ratio);
    stage.height = Math.round(height * ratio);
    const pace = [width / stage.width / view.zoom, -height / stage.height / view.zoom];
    const first = view.toCanvas(0, height);
    look.splitAt = look.split * width;
    this.painter.run(stage.width, stage.height, first, pace, {
      ...look,
      split: look.splitAt * ratio,
      others: this.pinned ? 0.3 : 1,
      borders: look.lines ? 1.2 * ratio : 0,
      outside: getComputedStyle(stage).backgroundColor.match(/[\d.]+/g).slice(0, 3).map((c) => c / 255),
    });
    this.painter.wait();
    const took = performance.now() - before;
    drawOverlay(this.overlay, this.diagram, view, look, screen);
    document.querySelector("#zoom").textContent = `${Math.round(100 * view.zoom)} %`;
    return took;
  }

  show(mode) {
    this.look.mode = mode;
    this.mark();
  }

  toggle(name) {
    this.look[name] = !this.look[name];
    this.mark();
  }

  slide(part) {
    if (this.modes.length < MODES.length) return;
    this.look.split = clamp(part, 0, 1);
    this.slider.value = 1000 * this.look.split;
    this.redraw();
  }

  mark() {
    const {mode} = this.look;
    for (const button of document.querySelectorAll("[data-mode]"))
      button.setAttribute("aria-pressed", button.dataset.mode === mode);
    for (const button of document.querySelectorAll("[data-layer]"))
      button.setAttribute("aria-pressed", this.look[button.dataset.layer]);
  }

  // The site under a point of the stage: shown in passing, or kept by a click.
  inspect(left, top) {
    if (!this.pinned) this.choose(...this.view.toCanvas(left, top));
  }

  pin(left, top) {
    const before = this.pinned ? this.look.chosen : -1;
    this.choose(...this.view.toCanvas(left, top));
    this.pinned = this.look.chosen !== before;
    if (!this.pinned) this.unpin();
  }

  unpin() {
    this.pinned = false;
    this.leave();
  }

  leave() {
    if (this.pinned) return;
    this.look.chosen = -1;
    this.say("");
    this.redraw();
  }

  choose(x, y) {
    const {width, height} = this.about;
    const inside = Math.min(x, y) >= -0.5 && x <= width - 0.5 && y <= height - 0.5;
    const list = inside ? blendAt(this.diagram, x, y) : [];
    const chosen = inside ? list[0].id : -1;
    if (chosen !== this.look.chosen) this.redraw();
    this.look.chosen = chosen;
    this.say(inside ? this.describe(x, y, list) : "");
  }

  describe(x, y, list) {
    const {fields} = this.diagram, {id} = list[0];
    const number = (value) => Number(value.toPrecision(4)).toString();
    const rows = FIELDS.map((name, f) => `<tr><th scope="row">${name}</th><td>${number(fields[f][id])}</td></tr>`);
    const shares = list.filter(({weight}) => weight > 0.005)
      .map((one) => `${one.id} ${Math.round(100 * one.weight)} %`).join(", ");
    return `<h2>Site ${id}</h2><table>${rows.join("")}</table>` +
      `<p>Blended at (${number(x)}, ${number(y)}): ${shares}</p>`;
  }

  say(html) {
    const panel = document.querySelector("#site");
    panel.hidden = !html;
    panel.innerHTML = html;
  }

  save(width) {
    const height = Math.max(1, Math.round((width * this.about.height) / this.about.width));
    const look = {...this.look, split: 0, chosen: -1, borders: this.look.lines ? 1.2 : 0};
    try {
      this.painter.picture(width, height, look).toBlob((blob) => {
        if (!blob) return tell(`Expected a size that this browser can save, got ${width}x${height}.`);
        const link = document.createElement("a");
        link.href = URL.createObjectURL(blob);
        link.download = `${this.about.title}_${width}x${height}.png`;
        link.click();
        setTimeout(() => URL.revokeObjectURL(link.href), 60000);
      });
    } catch (error) {
      tell(error.message);
    }
    this.redraw();
  }
}

function tell(message) {
  const note = document.querySelector("#note");
  note.hidden = !message;
  note.textContent = message;
}

async function start() {
  const text = (id) => document.querySelector(id).textContent;
  try {
    const about = JSON.parse(text("#about")), diagram = readDiagram(about, text("#data"));
    let photo = null;
    if (about.photo) {
      photo = new Image();
      photo.src = about.photo;
      await photo.decode();
    }
    return new Viewer(diagram, photo);
  } catch (error) {
    document.body.classList.add("broken");
    tell(
      `Nothing can be drawn here: ${error.message}. This page needs a browser with WebGL2 ` +
      "(any of the last years), with its hardware acceleration or a software replacement turned on.",
    );
    return null;
  }
}

window.sadViewer = start(); // a promise of the viewer, for scripts; null if nothing can be drawn
