// WebGL2: the diagram as textures, and the shader run over a viewport or over a picture to save.

const MODES = ["picture", "owners", "temperature", "error"];
const PART = 1024; // pixels a side, of a saved picture that is drawn at once
const MOST_SAMPLES = 4; // a side of the grid of points that a fragment is the mean of

class Painter {
  constructor(canvas, diagram, photo) {
    const gl = canvas.getContext("webgl2", {antialias: false, alpha: false, depth: false});
    if (!gl) throw new Error("expected WebGL2, got none");
    this.gl = gl;
    this.about = diagram.about;
    const {sites, k, columns, rows} = this.about;
    this.program = this.link(k);
    this.textures = {
      sites: this.texture(gl.RGBA32F, gl.RGBA, gl.FLOAT, diagram.rows, 4),
      starts: this.texture(gl.R32UI, gl.RED_INTEGER, gl.UNSIGNED_INT, diagram.start, 1),
      ids: this.texture(gl.R32UI, gl.RED_INTEGER, gl.UNSIGNED_INT, diagram.ids, 1),
      ramp: this.texture(gl.RGB8, gl.RGB, gl.UNSIGNED_BYTE, diagram.ramp, 3, 256),
      photo: photo ? this.image(photo) : this.texture(gl.RGB8, gl.RGB, gl.UNSIGNED_BYTE, new Uint8Array(3), 3),
    };
    gl.bindVertexArray(gl.createVertexArray()); // the corners are the vertices' numbers
  }

  link(k) {
    const gl = this.gl, program = gl.createProgram();
    const corners =
      "#version 300 es\nvoid main() { gl_Position = " +
      "vec4(vec2(gl_VertexID & 1, gl_VertexID >> 1) * 4.0 - 1.0, 0, 1); }";
    const sources = [[gl.VERTEX_SHADER, corners], [gl.FRAGMENT_SHADER, SHADER.replace("K_SITES", k)]];
    for (const [kind, source] of sources) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
      if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS) && !gl.isContextLost())
        throw new Error(gl.getShaderInfoLog(shader));
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS) && !gl.isContextLost())
      throw new Error(gl.getProgramInfoLog(program));
    return program;
  }

  // Numbers as a texture that the shader reads one by one; none is filtered, so floats will do.
  texture(format, layout, type, values, perTexel, width) {
    const gl = this.gl, texels = values.length / perTexel;
    width = width || Math.min(texels, gl.getParameter(gl.MAX_TEXTURE_SIZE), 4096);
    const height = Math.ceil(texels / width);
    const padded = new values.constructor(width * height * perTexel);
    padded.set(values);
    this.bind(gl.createTexture());
    gl.texImage2D(gl.TEXTURE_2D, 0, format, width, height, 0, layout, type, padded);
    return this.bound;
  }

  image(photo) {
    const gl = this.gl;
    this.bind(gl.createTexture());
    gl.pixelStorei(gl.UNPACK_COLORSPACE_CONVERSION_WEBGL, gl.NONE);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, gl.RGBA, gl.UNSIGNED_BYTE, photo);
    return this.bound;
  }

  bind(texture) {
    const gl = this.gl;
    this.bound = texture;
    gl.bindTexture(gl.TEXTURE_2D, texture);
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
    for (const name of ["TEXTURE_MIN_FILTER", "TEXTURE_MAG_FILTER"])
      gl.texParameteri(gl.TEXTURE_2D, gl[name], gl.NEAREST);
  }

  // Runs the shader over the bound target. `first` and `pace`: of the lower left fragment.
  run(width, height, first, pace, look) {
    const gl = this.gl, {about, program} = this;
    const at = (name) => gl.getUniformLocation(program, name);
    gl.viewport(0, 0, width, height);
    gl.useProgram(program);
    Object.entries(this.textures).forEach(([name, texture], unit) => {
      gl.activeTexture(gl.TEXTURE0 + unit);
      gl.bindTexture(gl.TEXTURE_2D, texture);
      gl.uniform1i(at(name), unit);
    });
    gl.uniform2f(at("first"), ...first);
    gl.uniform2f(at("pace"), ...pace);
    gl.uniform2f(at("size"), about.width, about.height);
    gl.uniform2i(at("tiles"), about.columns, about.rows);
    gl.uniform1f(at("side"), about.side);
    gl.uniform1i(at("mode"), MODES.indexOf(look.mode));
    const wanted = Math.ceil(Math.max(...pace.map(Math.abs)) - 1e-6);
    gl.uniform1i(at("samples"), Math.max(1, Math.min(MOST_SAMPLES, wanted)));
    gl.uniform1f(at("split"), look.split || 0);
    gl.uniform1f(at("borders"), look.borders || 0);
    gl.uniform2f(at("tauRange"), ...about.tau);
    gl.uniform1f(at("worst"), about.worst);
    gl.uniform1i(at("chosen"), look.chosen === undefined ? -1 : look.chosen);
    gl.uniform1f(at("others"), look.others === undefined ? 1 : look.others);
    gl.uniform3f(at("outside"), ...(look.outside || [0, 0, 0]));
    gl.drawArrays(gl.TRIANGLES, 0, 3);
  }

  wait() { // until all is drawn
    const gl = this.gl;
    gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(4));
  }

  // Parts of the whole picture at another size, as {x, y, width, height, data: RGBA bytes}.
  *parts(width, height, look) {
    const gl = this.gl, {about} = this;
    const pace = [about.width / width, about.height / height];
    const buffer = gl.createFramebuffer(), target = gl.createTexture();
    this.bind(target);
    gl.texStorage2D(gl.TEXTURE_2D, 1, gl.RGBA8, Math.min(PART, width), Math.min(PART, height));
    for (let y = 0; y < height; y += PART)
      for (let x = 0; x < width; x += PART) {
        const part = {x, y, width: Math.min(PART, width - x), height: Math.min(PART, height - y)};
        gl.bindFramebuffer(gl.FRAMEBUFFER, buffer);
        gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, target, 0);
        this.run(part.width, part.height, [x * pace[0] - 0.5, y * pace[1] - 0.5], pace, look);
        part.data = new Uint8ClampedArray(4 * part.width * part.height);
        gl.readPixels(0, 0, part.width, part.height, gl.RGBA, gl.UNSIGNED_BYTE, part.data);
        gl.bindFramebuffer(gl.FRAMEBUFFER, null);
        yield part;
      }
    gl.deleteFramebuffer(buffer);
    gl.deleteTexture(target);
  }

  // The whole picture at another size as a canvas.
  picture(width, height, look) {
    const canvas = document.createElement("canvas");
    Object.assign(canvas, {width, height});
    const to = canvas.getContext("2d");
    if (!to) throw new Error(`expected a size that this browser can hold, got ${width}x${height}`);
    for (const part of this.parts(width, height, look))
      to.putImageData(new ImageData(part.data, part.width, part.height), part.x, part.y);
    return canvas;
  }
}
