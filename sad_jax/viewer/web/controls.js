// Pointer, wheel, keys and buttons; all of them end in methods of the viewer.

const PAN = 40; // CSS pixels a key
const ZOOM = 1.25; // a key, a button

function listen(viewer) {
  const {stage, view} = viewer, pointers = new Map();
  const place = (event) => [event.offsetX, event.offsetY];
  let moved = 0;

  stage.addEventListener("pointerdown", (event) => {
    stage.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, place(event));
    moved = 0;
  });
  stage.addEventListener("pointermove", (event) => {
    const now = place(event), before = pointers.get(event.pointerId);
    if (!before) return viewer.inspect(...now);
    const other = [...pointers].find(([id]) => id !== event.pointerId);
    if (other) pinch(view, other[1], before, now);
    else view.pan(now[0] - before[0], now[1] - before[1]);
    moved += Math.hypot(now[0] - before[0], now[1] - before[1]);
    pointers.set(event.pointerId, now);
    viewer.redraw();
  });
  for (const end of ["pointerup", "pointercancel"])
    stage.addEventListener(end, (event) => {
      if (!pointers.delete(event.pointerId)) return;
      if (end === "pointerup" && moved < 4) viewer.pin(...place(event));
    });
  stage.addEventListener("pointerleave", () => viewer.leave());
  stage.addEventListener("wheel", (event) => {
    event.preventDefault();
    const pixels = event.deltaY * (event.deltaMode ? 30 : 1);
    view.zoomBy(Math.exp(-pixels * (event.ctrlKey ? 0.01 : 0.0015)), ...place(event));
    viewer.redraw();
  }, {passive: false});

  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, button, summary, #site") && event.target !== stage;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (typing && (event.key === "Enter" || event.key === " " || event.key.startsWith("Arrow"))) return;
    if (event.target.type === "number") return;
    const act = keys(viewer)[event.key];
    if (!act) return;
    act();
    event.preventDefault();
    viewer.redraw();
  });

  for (const button of document.querySelectorAll("[data-key]"))
    button.addEventListener("click", () => {
      keys(viewer)[button.dataset.key]();
      viewer.redraw();
    });
  viewer.slider.addEventListener("input", () => viewer.slide(viewer.slider.value / 1000));
  document.querySelector("#save").addEventListener("submit", (event) => {
    event.preventDefault();
    viewer.save(Number(document.querySelector("#width").value));
  });
}

function pinch(view, fixed, before, now) {
  const far = (a) => Math.max(1, Math.hypot(a[0] - fixed[0], a[1] - fixed[1]));
  view.pan((now[0] - before[0]) / 2, (now[1] - before[1]) / 2);
  view.zoomBy(far(now) / far(before), (now[0] + fixed[0]) / 2, (now[1] + fixed[1]) / 2);
}

function keys(viewer) {
  const {view, look} = viewer, [width, height] = view.extent;
  const zoom = (factor) => () => view.zoomBy(factor);
  const modes = Object.fromEntries(viewer.modes.map((mode, i) => [String(i + 1), () => viewer.show(mode)]));
  return {
    ...modes,
    ArrowLeft: () => view.pan(PAN, 0),
    ArrowRight: () => view.pan(-PAN, 0),
    ArrowUp: () => view.pan(0, PAN),
    ArrowDown: () => view.pan(0, -PAN),
    "+": zoom(ZOOM),
    "=": zoom(ZOOM),
    "-": zoom(1 / ZOOM),
    "0": () => view.fit(),
    a: () => zoom(1 / view.zoom)(),
    b: () => viewer.toggle("lines"),
    s: () => viewer.toggle("dots"),
    m: () => viewer.toggle("ellipses"),
    i: () => viewer.pin(width / 2, height / 2),
    Escape: () => viewer.unpin(),
    "[": () => viewer.slide(viewer.slider.value / 1000 - 0.05),
    "]": () => viewer.slide(viewer.slider.value / 1000 + 0.05),
  };
}
