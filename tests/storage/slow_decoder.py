"""A second decoder of compact `.sad` files in plain Python, written from `docs/format.md` alone.

Nothing of the package is used, and nothing is fast. ``decode(data)`` gives the canvas's numbers and
the sites' values as lists of Python floats, already rounded to float32.
"""

import functools
import struct
import zlib
from decimal import Decimal, localcontext

PI = Decimal("3.14159265358979323846264338327950288419716939937510")


def clip(value, low, high):
    return max(low, min(high, value))


def nearest(value: Decimal) -> int:
    return int((value + Decimal("0.5")).to_integral_value(rounding="ROUND_FLOOR"))


@functools.cache
def power_entry(j: int) -> int:
    with localcontext() as context:
        context.prec = 50
        return int(Decimal(2) ** (Decimal(j) / 1024) * 2**30)


POWERS = [power_entry(j) for j in range(1024)]


def pow2(e: int, b: int) -> int:
    shift = (e >> 10) + b - 30
    entry = POWERS[e % 1024]
    return entry << shift if shift >= 0 else entry >> -shift


def log2(v: int) -> int:
    n = v.bit_length()
    mantissa = v << (31 - n) if n <= 31 else v >> (n - 31)
    low, high = 0, 1024
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if POWERS[middle] <= mantissa else (low, middle)
    return (n - 1) * 1024 + low


@functools.cache
def cosine(t: int) -> int:
    with localcontext() as context:
        context.prec = 50
        x = PI * (t % 2**15) / 2**14
        if x > PI:
            x = 2 * PI - x
        term = total = Decimal(1)
        for n in range(1, 40):
            term *= -x * x / ((2 * n - 1) * (2 * n))
            total += term
        return nearest(total * 2**30)


def sine(t: int) -> int:
    return cosine(t - 2**13)


@functools.cache
def arc(j: int) -> int:
    with localcontext() as context:
        context.prec = 50
        x, factor = Decimal(j) / 1024, 1
        for _ in range(4):
            x, factor = x / (1 + (1 + x * x).sqrt()), 2 * factor
        total = sum((-1) ** n * x ** (2 * n + 1) / (2 * n + 1) for n in range(30))
        return nearest(factor * total * 2**14 / PI)


def angle_of(x: int, y: int) -> int:
    u, v = sorted((abs(x), abs(y)))
    t = arc(1024 * u // max(v, 1))
    t = 2**13 - t if abs(y) > abs(x) else t
    t = 2**14 - t if x < 0 else t
    t = 2**15 - t if y < 0 else t
    return t % 2**15


@functools.cache
def table(c: int, e: int) -> list[int]:
    g = pow2(256 * (16 - c), 10)
    below = []
    for k in range(64):
        t = 8 * (k - 31) - 4 - (e - 4)
        p = pow2(-min(1024 * g * abs(t) >> 13, 40960), 30)
        q = 2**30 * p // (2**30 + p)
        below.append(q if t < 0 else 2**30 - q)
    return [((f - below[0]) * (2**14 - 64) >> 30) + k for k, f in enumerate(below)] + [2**14]


def shape(densities: list[int]) -> list[int]:
    whole, total, found = sum(densities), 0, []
    for i, d in enumerate([*densities, 0]):
        found.append((63 * 1024 * total + i * whole) * 2**14 // (64 * 1024 * whole))
        total += d
    return found


@functools.cache
def beta(j: int) -> list[int]:
    a = (0, 1, 2, 3, 5, 7, 11, 15)[j]
    return shape([((2 * i + 1) * (2047 - 2 * i)) ** a for i in range(1024)])


@functools.cache
def peak(ground: int, width: int) -> list[int]:
    g = pow2(512 * (width + 4), 0)
    p = [pow2(-min(1024 * g * abs(2 * i + 1 - 1024) // 2048, 30720), 30) for i in range(1024)]
    even = sum(p) // 1024
    return shape([value * (16 - ground) + even * ground + 1 for value in p])


class Lane:
    def __init__(self, data: bytes):
        (self.x,) = struct.unpack_from("<I", data)
        self.words = list(struct.unpack_from(f"<{len(data) // 2 - 2}H", data, 4))[::-1]

    def symbol(self, count: int, border) -> int:
        """The number i of 0 to below ``count`` with border(i) <= slot < border(i + 1)."""
        slot = self.x % 2**14
        low, high = 0, count
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if border(middle) <= slot else (low, middle)
        begin, end = border(low), border(low + 1)
        self.x = (end - begin) * (self.x >> 14) + slot - begin
        if self.x < 2**16:
            self.x = self.x << 16 | self.words.pop()
        return low

    def even(self, n: int) -> int:
        return self.symbol(n, lambda i: 2**14 * i // n)

    def check_end(self) -> None:
        assert self.x == 2**16
        assert not self.words


def bits(lanes: list[Lane], widths: list[int]) -> list[int]:
    """Bits of a batch: its lanes, site by site, and how many bits each has."""
    found, done = [0] * len(lanes), 0
    while any(w > done for w in widths):
        for i, (lane, w) in enumerate(zip(lanes, widths, strict=True)):
            if w > done:
                found[i] |= lane.even(2 ** min(w - done, 10)) << done
        done += 10
    return found


def shaped(lanes: list[Lane], counts: list[int], shapes: list[list[int]]) -> list[int]:
    shifts = [max((n - 1).bit_length() - 7, 0) for n in counts]
    high = []
    for lane, n, h, d in zip(lanes, counts, shifts, shapes, strict=True):
        m = ((n - 1) >> h) + 1
        high.append(lane.symbol(m, lambda i, d=d, m=m: d[1024 * i // m]))
    low = bits(lanes, shifts)
    found = [(a << h) + b for a, h, b in zip(high, shifts, low, strict=True)]
    assert all(value < n for value, n in zip(found, counts, strict=True))
    return found


def residuals(lanes: list[Lane], means: list[int], classes: list[int]) -> list[int]:
    shifts, centers, symbols = [], [], []
    for lane, mean, c in zip(lanes, means, classes, strict=True):
        h = (max(c - 20, 0) + 3) // 4
        m = (mean - 4 * (2**h - 1)) >> h
        z = (m + 4) >> 3
        borders = table(c - 4 * h, m - 8 * z + 4)
        symbols.append(lane.symbol(64, borders.__getitem__))
        shifts.append(h)
        centers.append(z)
    away = [k - 31 for k in symbols]
    far = [i for i, k in enumerate(symbols) if k == 63]
    heads = [lanes[i].even(62) for i in far]
    lengths = [max(q >> 1, 1) for q in heads]
    rest = bits([lanes[i] for i in far], [n - 1 for n in lengths])
    for i, q, n, b in zip(far, heads, lengths, rest, strict=True):
        r = 31 + 2 ** (n - 1) + b
        away[i] = -r if q % 2 else r
    low = bits(lanes, shifts)
    return [((z + r) << h) + b for z, r, h, b in zip(centers, away, shifts, low, strict=True)]


class Cursor:
    def __init__(self, data: bytes, at: int):
        self.data, self.at = data, at

    def take(self, count: int) -> bytes:
        self.at += count
        return self.data[self.at - count : self.at]

    def byte(self) -> int:
        return self.take(1)[0]

    def number(self) -> int:
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def signed(self) -> int:
        value = self.number()
        return -(value + 1) // 2 if value % 2 else value // 2


def float32(value: float) -> float:
    return struct.unpack("<f", struct.pack("<f", value))[0]


class Decoder:
    def __init__(self, data: bytes):
        assert data[:6] == b"\x89SAD\x02\x01"
        cursor = Cursor(data, 6)
        self.k, self.cell = cursor.byte(), cursor.byte()
        self.width, self.height = cursor.number(), cursor.number()
        self.channels, self.count = cursor.number(), cursor.number()
        start = data[: cursor.at]
        length, end = cursor.number(), cursor.at
        (stored,) = struct.unpack("<I", cursor.take(4))
        payload = data[cursor.at :]
        assert len(payload) == length
        assert stored == zlib.crc32(data[:end] + payload)
        self.size = max(self.width, self.height)
        cursor = Cursor(payload, 0)
        self.read_head(cursor)
        self.base_level = 0 if self.count <= 512 else 4
        base_sites = -(-self.count // 2**self.base_level)
        lanes = [2 * cursor.number() for _ in range(-(-base_sites // 256))]
        groups = -(-self.count // 256) if self.base_level else 0
        self.boxes = []
        for _ in range(groups):
            lanes.append(2 * cursor.number())
            self.boxes.append(tuple(cursor.take(4)))
        (stored,) = struct.unpack("<I", cursor.take(4))
        assert stored == zlib.crc32(start + payload[: cursor.at - 4])
        opened = [Lane(cursor.take(size)) for size in lanes]
        assert not any(payload[cursor.at :])
        n = self.count
        names = ("place", "x", "y", "tau", "aniso", "angle", "px", "py", "radius", "ax", "ay")
        self.f = {name: [0] * n for name in names}
        self.f |= {f"c{j}": [0] * n for j in range(self.channels)}
        self.read_sites(opened[: len(opened) - groups], opened[len(opened) - groups :])
        for lane in opened:
            lane.check_end()

    def read_head(self, cursor: Cursor) -> None:
        self.curve_bits, self.cell_bits = cursor.byte(), cursor.byte()
        self.x0, self.y0, self.r0 = (cursor.signed() for _ in range(3))
        self.codes = dict(
            zip(("tau", "aniso", "angle", "place", "radius", "color"), cursor.take(6), strict=True)
        )
        ranged = cursor.byte()
        self.range = struct.unpack("<2f", cursor.take(8)) if ranged else None
        low, high = cursor.take(2)
        self.betas = (low & 15, low >> 4, high & 15, high >> 4)
        peaked = cursor.byte()
        self.ground, self.peak_width = peaked & 31, peaked >> 5
        self.lines = {}
        fields = [("tau", 3), ("aniso", 3), ("radius", 6)]
        fields += [(f"c{j}", min(j, 2) + 1) for j in range(self.channels)]
        for name, features in fields:
            weights = [cursor.signed() for _ in range(features)]
            self.lines[name] = (weights, cursor.signed(), cursor.byte())

    def read_sites(self, base: list[Lane], groups: list[Lane]) -> None:
        n, b = self.count, self.base_level
        top = max((n - 1).bit_length(), b)
        for level in range(top, b - 1, -1):
            sites = [0] if level == top else list(range(2**level, n, 2 ** (level + 1)))
            self.read_batch(sites, level, [base[j % len(base)] for j in range(len(sites))])
        for g, lane in enumerate(groups):
            for level in range(b - 1, -1, -1):
                first = 256 * g
                sites = [i for i in range(first + 2**level, first + 256, 2 ** (level + 1)) if i < n]
                if sites:
                    self.read_batch(sites, level, [lane] * len(sites))

    def neighbours(self, i: int, level: int) -> tuple[list[tuple[int, int]], int]:
        b, n = self.base_level, self.count
        inside = level < b
        near = [i - o * 2**level for o in range(1, 16, 2)]
        near += [i + o * 2**level for o in range(1, 16, 2)]
        near = [c for c in near if 0 <= c < n and (not inside or c // 256 == i // 256)]
        if inside:
            around = [(i // 2**b + o) * 2**b for o in range(-3, 5)]
            near += [c for c in around if 0 <= c < n and c // 256 != i // 256]
        x, y = self.f["x"], self.f["y"]
        away = [(x[c] - x[i]) ** 2 + (y[c] - y[i]) ** 2 for c in near]
        chosen = sorted(range(len(near)), key=lambda j: (away[j], j))[:6]
        weighted = [(near[j], 2**20 // (4 * min(away[j], 2**40) + 3)) for j in chosen]
        two = [min(away[j], 2**40) for j in chosen[:2]]
        return weighted, log2(1 + sum(two) + 2**40 * (2 - len(two)))

    def read_batch(self, sites: list[int], level: int, lanes: list[Lane]) -> None:
        f, stride, n = self.f, 2**level, self.count
        every = range(len(sites))
        low, counts, shapes = [], [], []
        for i in sites:
            low.append(f["place"][i - stride] if i else 0)
            there = i + stride < n
            high = f["place"][i + stride] if there else 4**self.curve_bits - 1
            counts.append(high - low[-1] + 1)
            shapes.append(beta(self.betas[min(level, 3)] if there else 0))
        for i, start, offset in zip(sites, low, shaped(lanes, counts, shapes), strict=True):
            f["place"][i] = start + offset
            f["x"][i], f["y"][i] = self.cell_at(start + offset)
        around, near = zip(*(self.neighbours(i, level) for i in sites), strict=True)

        def mean_of(values, j: int) -> int:
            total = max(sum(w for _, w in around[j]), 1)
            return sum(w * values(c) for c, w in around[j]) // total

        def spread_of(values, j: int, mean: int) -> int:
            total = max(sum(w for _, w in around[j]), 1)
            return sum(w * abs(values(c) - mean) for c, w in around[j]) // total

        def field(name: str, features, spreads, steps) -> list[int]:
            weights, offset, slope = self.lines[name]
            means, classes = [], []
            for j in every:
                value = sum(w * x for w, x in zip(weights, features[j], strict=True)) >> 6
                spread = spreads[j]
                if name == "radius":
                    spread = pow2(clip(value, 0, 30720), 0)
                    value = spread - 256
                means.append(8 * clip(value, -(2**36), 2**36) // steps[j])
                wide = log2(min(8 * spread // steps[j], 2**30) + 3)
                classes.append(clip((256 * offset + slope * wide) >> 10, 0, 120))
            return residuals(lanes, means, classes)

        for name in ("tau", "aniso"):
            step = max(1, pow2(64 * self.codes[name], 0))
            values = f[name].__getitem__
            means = [mean_of(values, j) for j in every]
            spreads = [spread_of(values, j, means[j]) for j in every]
            last = near if name == "tau" else [f["tau"][i] for i in sites]
            features = [(1024, means[j], last[j]) for j in every]
            for i, value in zip(sites, field(name, features, spreads, [step] * n), strict=True):
                f[name][i] = step * value

        wide = [min(f["aniso"][i], 8192) for i in sites]
        long, short = [pow2(w, 20) for w in wide], [pow2(-w, 20) for w in wide]
        k = [f["tau"][i] - log2(self.size) for i in sites]
        levels, firsts, shapes = [], [], []
        for j, i in enumerate(sites):
            e = 64 * self.codes["angle"] + k[j] // 5
            e += log2(max((long[j] - short[j]) >> 1, 1)) - 20480
            some = min(pow2(clip(e, 0, 20480), 0) + 1, 4096)
            levels.append(1 if f["aniso"][i] == 0 else some)
            u, v = (mean_of(f[name].__getitem__, j) for name in ("ax", "ay"))
            sure = min(2 * pow2(log2(max(u * u + v * v, 1)) // 2, 0), 85197) >> 6
            ground = max(16 - ((16 - self.ground) * sure >> 10), 1)
            shapes.append(peak(ground, self.peak_width))
            t = angle_of(u, v) // 2
            firsts.append((t * levels[j] + 2**13) // 2**14 - levels[j] // 2)
        for j, value in enumerate(shaped(lanes, levels, shapes)):
            i = sites[j]
            f["angle"][i] = t = (value + firsts[j]) % levels[j] * 2**14 // levels[j]
            h = ((long[j] - short[j]) << 10) // (long[j] + short[j])
            f["ax"][i] = (cosine(2 * t) >> 14) * h >> 10
            f["ay"][i] = (sine(2 * t) >> 14) * h >> 10

        many = {"x": [], "y": []}
        for j, i in enumerate(sites):
            c, s = (g(f["angle"][i]) ** 2 >> 30 for g in (cosine, sine))
            mx = (long[j] * c + short[j] * s) >> 30
            my = (long[j] * s + short[j] * c) >> 30
            metric = log2(max(mx, my, 1)) - 20480
            z = 64 * self.codes["place"] - k[j] // 2
            for axis, fine in (("x", mx >= my), ("y", mx < my)):
                e = 1024 * self.cell_bits - (z - metric // 2 if fine else z + metric // 2)
                some = (pow2(clip(e, -8192, 20480), 8) + 205) >> 8
                many[axis].append(clip(some, 1, min(256, 2**self.cell_bits)))
        for axis in ("x", "y"):
            places = [lane.even(m) for lane, m in zip(lanes, many[axis], strict=True)]
            for i, m, place in zip(sites, many[axis], places, strict=True):
                cell = f[axis][i] * 2**self.cell_bits
                within = (2 * place + 1) * 2**self.cell_bits // (2 * m)
                f[f"p{axis}"][i] = cell + within - 128

        codes = self.codes
        steps = [max(1, pow2(clip(64 * codes["radius"] - v // 2, 0, 20480), 0)) for v in k]
        features = []
        for j, i in enumerate(sites):
            mean = mean_of(lambda c: log2(max(f["radius"][c] - self.r0 + 256, 256)), j)
            tau, aniso = f["tau"][i], f["aniso"][i]
            features.append((1024, mean, tau, aniso, near[j], tau * tau >> 12))
        for j, value in enumerate(field("radius", features, [0] * len(sites), steps)):
            f["radius"][sites[j]] = self.r0 + steps[j] * value

        steps = []
        for i in sites:
            soft = 4 * (log2(clip(f["radius"][i], 256, 8192)) - 8192) // 5
            steps.append(max(1, pow2(clip(64 * codes["color"] - soft, 0, 20480), 0)))
        planes = [f[f"c{p}"] for p in range(self.channels)]
        means = [[mean_of(plane.__getitem__, j) for j in every] for plane in planes]
        spreads = [
            [spread_of(plane.__getitem__, j, mean[j]) for j in every]
            for plane, mean in zip(planes, means, strict=True)
        ]
        together = [sum(spread[j] for spread in spreads) for j in every]
        for p, plane in enumerate(planes):
            spread = [spreads[p][j] + together[j] // 4 for j in every] if p else together
            before = range(max(p - 2, 0), p)
            features = [
                (means[p][j], *(planes[q][sites[j]] - means[q][j] for q in before)) for j in every
            ]
            for j, value in enumerate(field(f"c{p}", features, spread, steps)):
                plane[sites[j]] = steps[j] * value

    def cell_at(self, place: int) -> tuple[int, int]:
        x = y = 0
        for bit in range(self.curve_bits):
            d = (place >> 2 * bit) % 4
            r = d >> 1
            w = (d % 2) ^ r
            m = 2**bit - 1
            if w == 0:
                x, y = y, x
                if r == 1:
                    x, y = m - x, m - y
            x, y = x + r * 2**bit, y + w * 2**bit
        return x, y

    def values(self) -> dict[str, list]:
        """The fields of the sites, in float32."""
        f, ln2 = self.f, 0.6931471805599453
        x0, y0 = self.x0 * 2**self.cell_bits, self.y0 * 2**self.cell_bits
        found = {
            "position": [
                [(x + x0) / 256, (y + y0) / 256] for x, y in zip(f["px"], f["py"], strict=True)
            ],
            "log_tau": [t * ln2 / 1024 for t in f["tau"]],
            "radius": [r / 256 for r in f["radius"]],
            "color": [self.color(i) for i in range(self.count)],
            "direction": [[cosine(t) / 2**30, sine(t) / 2**30] for t in f["angle"]],
            "log_aniso": [a * ln2 / 1024 for a in f["aniso"]],
        }

        def rounded(value):
            return [rounded(v) for v in value] if isinstance(value, list) else float32(value)

        return {name: rounded(value) for name, value in found.items()}

    def color(self, i: int) -> list[float]:
        planes = [self.f[f"c{j}"][i] for j in range(self.channels)]
        if len(planes) >= 3:
            p, q, r = planes[:3]
            planes[0] = (9459 * p + 11585 * q + 6689 * r + 8192) >> 14
            planes[1] = (9459 * p - 13377 * r + 8192) >> 14
            planes[2] = (9459 * p - 11585 * q + 6689 * r + 8192) >> 14
        light = [clip(value + 2**15, 0, 2**16) / 2**16 for value in planes]
        if self.range is None:
            return light
        low, high = self.range
        return [low + value * (high - low) for value in light]
