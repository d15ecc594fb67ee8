// Where one looks: the point of the canvas in the middle of the stage, and CSS pixels a canvas pixel.

class View {
  constructor(stage, about) {
    Object.assign(this, {stage, about});
    this.fit();
  }

  get extent() {
    const {clientWidth, clientHeight} = this.stage;
    return [Math.max(1, clientWidth), Math.max(1, clientHeight)];
  }

  fit() {
    const {width, height} = this.about, [w, h] = this.extent;
    this.fitted = true; // stays so when the window changes, until one moves
    this.x = (width - 1) / 2;
    this.y = (height - 1) / 2;
    this.zoom = Math.min(w / width, h / height);
  }

  resized() {
    if (this.fitted) this.fit();
  }

  // The point of the canvas under a point of the stage, and the other way round.
  toCanvas(left, top) {
    const [w, h] = this.extent;
    return [this.x + (left - w / 2) / this.zoom, this.y + (top - h / 2) / this.zoom];
  }

  toStage(x, y) {
    const [w, h] = this.extent;
    return [(x - this.x) * this.zoom + w / 2, (y - this.y) * this.zoom + h / 2];
  }

  pan(left, top) {
    this.fitted = false;
    this.x = clamp(this.x - left / this.zoom, -0.5, this.about.width - 0.5);
    this.y = clamp(this.y - top / this.zoom, -0.5, this.about.height - 0.5);
  }

  // Around a point of the stage, which stays where it is.
  zoomBy(factor, left = this.extent[0] / 2, top = this.extent[1] / 2) {
    const [x, y] = this.toCanvas(left, top);
    this.fitted = false;
    this.zoom = clamp(this.zoom * factor, 0.02, 2000);
    const [newX, newY] = this.toCanvas(left, top);
    this.pan((newX - x) * this.zoom, (newY - y) * this.zoom);
  }
}

function clamp(value, low, high) {
  return Math.max(low, Math.min(high, value));
}
