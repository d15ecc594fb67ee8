// What is drawn above the picture: sites as dots, their metrics as ellipses, the slider's line.

const DOT = 2; // CSS pixels, half a dot's width

function drawOverlay(canvas, diagram, view, look, ratio) {
  const [width, height] = view.extent, context = canvas.getContext("2d");
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  context.scale(ratio, ratio);
  const sites = look.dots || look.ellipses, split = look.splitAt > 0 && look.splitAt < width;
  const empty = !sites && look.chosen < 0 && !split;
  canvas.style.visibility = empty ? "hidden" : "visible"; // Chromium may go on showing what was there
  if (sites) drawSites(context, diagram, view, look);
  if (look.chosen >= 0) drawChosen(context, diagram, view, look.chosen);
  if (split) {
    context.fillStyle = "#fff";
    context.fillRect(look.splitAt - 1, 0, 2, height);
    context.fillStyle = "#000";
    context.fillRect(look.splitAt - 2, 0, 1, height);
    context.fillRect(look.splitAt + 1, 0, 1, height);
  }
}

function drawSites(context, diagram, view, look) {
  const [xs, ys] = diagram.fields, [width, height] = view.extent;
  const room = look.ellipses ? 100 : DOT;
  context.lineWidth = 1;
  for (let id = 0; id < xs.length; id++) {
    const [left, top] = view.toStage(xs[id], ys[id]);
    if (left < -room || top < -room || left > width + room || top > height + room) continue;
    if (look.ellipses) {
      context.strokeStyle = "rgba(255, 255, 255, 0.9)";
      ellipse(context, diagram, view, id);
    }
    if (look.dots) {
      context.fillStyle = "#000";
      context.fillRect(left - DOT, top - DOT, 2 * DOT, 2 * DOT);
      context.fillStyle = "#fff";
      context.fillRect(left - DOT + 1, top - DOT + 1, 2 * DOT - 2, 2 * DOT - 2);
    }
  }
}

// Points of equal distance in the site's metric; all ellipses have one area, a third of a site's
// share of the canvas.
function ellipse(context, {fields, about}, view, id) {
  const [x, y, , , , , , ux, uy, aniso] = fields.map((field) => field[id]);
  const radius = Math.sqrt((about.width * about.height) / about.sites / 3 / Math.PI) * view.zoom;
  const [left, top] = view.toStage(x, y), half = Math.exp(clamp(aniso, -8, 8) / 2);
  context.beginPath();
  context.ellipse(left, top, radius / half, radius * half, Math.atan2(uy, ux), 0, 2 * Math.PI);
  context.stroke();
}

function drawChosen(context, diagram, view, id) {
  const [left, top] = view.toStage(diagram.fields[0][id], diagram.fields[1][id]);
  for (const [color, width] of [["#000", 4], ["#fa3", 2]]) {
    context.strokeStyle = color;
    context.lineWidth = width;
    ellipse(context, diagram, view, id);
    context.beginPath();
    context.arc(left, top, 5, 0, 2 * Math.PI);
    context.stroke();
  }
}
