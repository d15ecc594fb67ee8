// DEFLATE (RFC 1951), undone: the embedded data are compressed, and not every browser offers to.

function inflate(input, size) {
  const out = new Uint8Array(size);
  let at = 0, next = 0, bits = 0, held = 0;

  function take(count) {
    while (held < count) {
      bits |= input[next++] << held;
      held += 8;
    }
    const value = bits & ((1 << count) - 1);
    bits >>>= count;
    held -= count;
    return value;
  }

  // A canonical code: how many words of each length, and the symbols in order of their words.
  function makeCode(lengths) {
    const count = new Uint16Array(16), first = new Uint16Array(16);
    for (const length of lengths) count[length]++;
    count[0] = 0;
    for (let i = 1; i < 16; i++) first[i] = first[i - 1] + count[i - 1];
    const symbols = new Uint16Array(lengths.length);
    lengths.forEach((length, symbol) => { if (length) symbols[first[length]++] = symbol; });
    return {count, symbols};
  }

  function symbol({count, symbols}) {
    let word = 0, first = 0, index = 0;
    for (let length = 1; length < 16; length++) {
      word |= take(1);
      if (word - count[length] < first) return symbols[index + word - first];
      index += count[length];
      first = (first + count[length]) << 1;
      word <<= 1;
    }
    throw new Error("expected compressed data, got something else");
  }

  const steps = (start, extra) => extra.map((e) => { const s = start; start += 1 << e; return s; });
  const lengthExtra = [...Array(28).keys()].map((i) => Math.max(0, (i >> 2) - 1)).concat(0);
  const lengths = steps(3, lengthExtra);
  lengths[28] = 258;
  const farExtra = [...Array(30).keys()].map((i) => Math.max(0, (i >> 1) - 1));
  const far = steps(1, farExtra);

  function fixedCodes() {
    const of = (i) => (i < 144 ? 8 : i < 256 ? 9 : i < 280 ? 7 : 8);
    return [[...Array(288).keys()].map(of), Array(30).fill(5)].map(makeCode);
  }

  function dynamicCodes() {
    const literals = take(5) + 257, distances = take(5) + 1, count = take(4) + 4;
    const order = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
    const own = Array(19).fill(0);
    for (let i = 0; i < count; i++) own[order[i]] = take(3);
    const code = makeCode(own), found = [];
    while (found.length < literals + distances) {
      const s = symbol(code);
      if (s < 16) found.push(s);
      else {
        const value = s === 16 ? found[found.length - 1] : 0;
        const times = s === 16 ? 3 + take(2) : s === 17 ? 3 + take(3) : 11 + take(7);
        for (let i = 0; i < times; i++) found.push(value);
      }
    }
    return [found.slice(0, literals), found.slice(literals)].map(makeCode);
  }

  for (let last = 0; !last;) {
    last = take(1);
    const kind = take(2);
    if (kind === 0) {
      bits = held = 0;
      const length = input[next] | (input[next + 1] << 8);
      out.set(input.subarray(next + 4, next + 4 + length), at);
      next += 4 + length;
      at += length;
      continue;
    }
    const [literal, distance] = kind === 1 ? fixedCodes() : dynamicCodes();
    for (let s = symbol(literal); s !== 256; s = symbol(literal)) {
      if (s < 256) {
        out[at++] = s;
        continue;
      }
      const length = lengths[s - 257] + take(lengthExtra[s - 257]);
      const d = symbol(distance), back = far[d] + take(farExtra[d]);
      for (let i = 0; i < length; i++, at++) out[at] = out[at - back];
    }
  }
  return out;
}
