// The diagram: what the page embeds, and the formula of the scores for a single point.

const FIELDS = ["x", "y", "log tau", "radius", "red", "green", "blue", "axis x", "axis y", "log aniso"];

function readDiagram(about, text) {
  const packed = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const bytes = inflate(packed, about.bytes);
  const n = about.sites, numbers = FIELDS.length * n;
  const plain = new Uint8Array(4 * numbers); // the four bytes of all numbers lie apart
  for (let b = 0; b < 4; b++)
    for (let i = 0; i < numbers; i++) plain[4 * i + b] = bytes[b * numbers + i];
  const values = new Float32Array(plain.buffer);
  const fields = FIELDS.map((_, f) => values.subarray(f * n, (f + 1) * n));

  let at = 4 * numbers;
  function number() { // seven bits a byte, the lowest first
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = bytes[at++];
      value |= (byte & 127) << shift;
      if (byte < 128) return value;
    }
  }
  const tiles = about.columns * about.rows, start = new Uint32Array(tiles + 1);
  for (let i = 0; i < tiles; i++) start[i + 1] = start[i] + number();
  const ids = new Uint32Array(start[tiles]);
  for (let i = 0; i < tiles; i++)
    for (let j = start[i]; j < start[i + 1]; j++) ids[j] = number() + (j > start[i] ? ids[j - 1] : 0);
  const ramp = bytes.slice(at, at + 3 * 256);
  return {about, fields, start, ids, ramp, rows: rowsOf(about, fields)};
}

// Twelve numbers a site, as the shader reads them: (x, y, f), (h, tau, r / S, log tau), colour.
function rowsOf(about, [x, y, logTau, radius, red, green, blue, ux, uy, aniso]) {
  const size = Math.max(about.width, about.height), rows = new Float32Array(12 * about.sites);
  for (let i = 0; i < about.sites; i++) {
    const long = Math.exp(aniso[i] / 2) / (Math.hypot(ux[i], uy[i]) || 1) / size;
    rows.set([x[i], y[i], ux[i] * long, uy[i] * long], 12 * i);
    rows.set([Math.exp(-aniso[i]), Math.exp(logTau[i]), radius[i] / size, logTau[i]], 12 * i + 4);
    rows.set([red[i], green[i], blue[i], 0], 12 * i + 8);
  }
  return rows;
}

// The sites that blend in a point, with their weights, the heaviest first.
function blendAt({about, rows, start, ids}, px, py) {
  const clip = (value, most) => Math.max(0, Math.min(most - 1, Math.floor(value)));
  const column = clip((px + 0.5) / about.side, about.columns);
  const tile = clip((py + 0.5) / about.side, about.rows) * about.columns + column;
  const scores = Array.from(ids.subarray(start[tile], start[tile + 1]), (id) => {
    const [x, y, fx, fy, h, tau, radius] = rows.subarray(12 * id, 12 * id + 7);
    const p = fx * (px - x) + fy * (py - y), q = (fx * (py - y) - fy * (px - x)) * h;
    return {id, score: tau * (Math.sqrt(Math.max(p * p + q * q, 1e-8)) - radius)};
  });
  const best = scores.sort((a, b) => a.score - b.score || a.id - b.id).slice(0, about.k);
  const total = best.reduce((sum, {score}) => sum + Math.exp(best[0].score - score), 0);
  return best.map(({id, score}) => ({id, weight: Math.exp(best[0].score - score) / total}));
}
