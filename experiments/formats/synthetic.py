"""A file of every layout with its values, by writers other than the readers under test."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from sad_jax.storage.pictures import read_image

Case = tuple[str, bytes, np.ndarray, float]  # name, file, values in [0, 1], tolerance
HEIGHT, WIDTH = 13, 17
_KINDS = {1: 0, 2: 4, 3: 2, 4: 6}  # PNG's, by channels
_EXACT, _LOSSY = 1e-6, 6 / 255


def cases() -> Iterator[Case]:
    """All of them, from one seed."""
    rng = np.random.default_rng(11)
    yield from _pngs(rng)
    yield from _tiffs(rng)
    yield from _netpbms(rng)
    yield from _coded(rng)
    yield from _by_pillow(rng)


def png(
    samples: np.ndarray, bits: int, kind: int, extra: bytes = b"", adam7: bool = False
) -> bytes:
    """A PNG from the standard: rows without filters, packed from the left."""

    def rows(part: np.ndarray) -> bytes:
        flat = part.reshape(part.shape[0], -1)
        if bits == 16:
            packed = flat.astype(">u2").view(np.uint8)
        elif bits == 8:
            packed = flat.astype(np.uint8)
        else:
            shifts = np.arange(bits - 1, -1, -1)
            packed = np.packbits((flat[..., None] >> shifts & 1).reshape(len(flat), -1), axis=1)
        return b"".join(b"\0" + row.tobytes() for row in packed)

    passes = [(0, 8, 0, 8), (0, 8, 4, 8), (4, 8, 0, 4), (0, 4, 2, 4), (2, 4, 0, 2), (0, 2, 1, 2)]
    passes.append((1, 2, 0, 1))
    parts = [samples[y::dy, x::dx] for y, dy, x, dx in passes] if adam7 else [samples]
    body = b"".join(rows(part) for part in parts if part.size)
    height, width = samples.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, adam7)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + extra
        + chunk(b"IDAT", zlib.compress(body))
        + chunk(b"IEND", b"")
    )


def chunk(kind: bytes, body: bytes) -> bytes:
    """A PNG chunk with its checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _pngs(rng: np.random.Generator) -> Iterator[Case]:
    for adam7 in (False, True):
        name = "interlaced" if adam7 else "plain"
        for channels, kind in _KINDS.items():
            for bits in (1, 2, 4, 8, 16) if channels == 1 else (8, 16):
                samples = rng.integers(0, 2**bits, (HEIGHT, WIDTH, channels))
                values = samples / (2**bits - 1)
                data = png(samples, bits, kind, b"", adam7)
                yield f"png_{kind}_{bits}_{name}.png", data, values, _EXACT
                if channels in (1, 3):
                    key = samples[3, 4]
                    extra = chunk(b"tRNS", key.astype(">u2").tobytes())
                    opaque = (samples != key).any(axis=2, keepdims=True)
                    data = png(samples, bits, kind, extra, adam7)
                    full = np.concatenate([values, opaque], axis=2)
                    yield f"png_{kind}_{bits}_trns_{name}.png", data, full, _EXACT
        for bits in (1, 2, 4, 8):
            palette = rng.integers(0, 256, (2**bits, 4), dtype=np.uint8)
            index = rng.integers(0, 2**bits, (HEIGHT, WIDTH, 1))
            plte = chunk(b"PLTE", palette[:, :3].tobytes())
            data = png(index, bits, 3, plte, adam7)
            yield f"png_3_{bits}_{name}.png", data, palette[index[..., 0], :3] / 255, _EXACT
            data = png(index, bits, 3, plte + chunk(b"tRNS", palette[:, 3].tobytes()), adam7)
            yield f"png_3_{bits}_trns_{name}.png", data, palette[index[..., 0]] / 255, _EXACT


def _tiffs(rng: np.random.Generator) -> Iterator[Case]:
    from tifffile import imwrite

    def write(samples: np.ndarray, **options) -> bytes:
        buffer = io.BytesIO()
        imwrite(buffer, samples, metadata=None, **options)
        return buffer.getvalue()

    for dtype in ("u1", "u2", "u4", "i2", "i4", "f2", "f4", "f8"):
        for channels in (1, 2, 3, 4, 7):
            for planar in ("contig", "separate"):
                for how in ("plain", "big-endian", "bigtiff", "tiled", "deflate", "lzw"):
                    shape = (HEIGHT, WIDTH, channels)
                    if dtype[0] == "f":
                        samples = rng.random(shape).astype(dtype)
                        values = samples.astype(np.float32)
                    else:
                        top = np.iinfo(dtype).max
                        samples = rng.integers(0, top, shape, dtype=dtype, endpoint=True)
                        values = samples / top
                    stored = samples if planar == "contig" else np.moveaxis(samples, 2, 0)
                    options = {
                        "plain": {},
                        "big-endian": {"byteorder": ">"},
                        "bigtiff": {"bigtiff": True},
                        "tiled": {"tile": (16, 16)},
                        "deflate": {"compression": "zlib", "predictor": dtype[1] != "2"},
                        "lzw": {"compression": "lzw"},
                    }[how]
                    extras = channels - (1 if channels < 3 else 3)
                    name = f"tiff_{dtype}_{channels}_{planar}_{how}.tif"
                    data = write(
                        stored if channels > 1 else samples[..., 0],
                        photometric="minisblack" if channels < 3 else "rgb",
                        extrasamples=["unassalpha", *[0] * (extras - 1)] if extras else None,
                        **({"planarconfig": planar} if channels > 1 else {}),
                        **options,
                    )
                    yield name, data, values, _EXACT
    for dtype in ("?", "u1", "u2"):
        top = 1 if dtype == "?" else np.iinfo(dtype).max
        samples = rng.integers(0, top, (HEIGHT, WIDTH), dtype="u2", endpoint=True).astype(dtype)
        for photometric in ("miniswhite", "minisblack"):
            values = samples / top if photometric == "minisblack" else 1 - samples / top
            name = f"tiff_{'bit' if dtype == '?' else dtype}_{photometric}.tif"
            yield name, write(samples, photometric=photometric), values[..., None], _EXACT
    for bits in (2, 4, 10, 12, 14):
        packed, samples = _packed(rng, bits)
        yield f"tiff_{bits}_bits.tif", packed, samples / (2**bits - 1), _EXACT
    rgba = rng.integers(0, 256, (HEIGHT, WIDTH, 4), dtype=np.uint8)
    alpha = rgba[..., 3:] / 255
    color = np.divide(
        rgba[..., :3] / 255, alpha, out=np.zeros(rgba[..., :3].shape), where=alpha > 0
    )
    data = write(rgba, photometric="rgb", extrasamples=["assocalpha"])
    yield "tiff_associated.tif", data, np.concatenate([np.minimum(color, 1), alpha], 2), _EXACT
    table = rng.integers(0, 65536, (3, 256), dtype=np.uint16)
    index = rng.integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8)
    data = write(index, photometric="palette", colormap=table)
    yield "tiff_palette.tif", data, table.T[index] / 65535, _EXACT
    for dtype in ("u1", "u2"):
        top = np.iinfo(dtype).max
        cmyk = rng.integers(0, top, (HEIGHT, WIDTH, 4), dtype=dtype, endpoint=True)
        ink = cmyk / top
        data = write(cmyk, photometric="separated")
        yield f"tiff_cmyk_{dtype}.tif", data, (1 - ink[..., :3]) * (1 - ink[..., 3:]), _EXACT


def _packed(rng: np.random.Generator, bits: int) -> tuple[bytes, np.ndarray]:
    """Gray of any bits, packed by hand, as few writers do it."""
    samples = rng.integers(0, 2**bits, (HEIGHT, WIDTH, 1))
    shifts = np.arange(bits - 1, -1, -1)
    body = np.packbits((samples >> shifts & 1).reshape(HEIGHT, -1), axis=1).tobytes()
    tags = [(256, WIDTH), (257, HEIGHT), (258, bits), (259, 1), (262, 1), (273, 8), (277, 1)]
    tags += [(278, HEIGHT), (279, len(body))]
    head = b"II*\0" + struct.pack("<I", 8 + len(body) + len(body) % 2)
    directory = struct.pack("<H", len(tags))
    directory += b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return head + body + b"\0" * (len(body) % 2) + directory + b"\0" * 4, samples


def _netpbms(rng: np.random.Generator) -> Iterator[Case]:
    for top in (1, 15, 255, 1000, 65535):
        for channels, text, packed in ((1, b"P2", b"P5"), (3, b"P3", b"P6")):
            samples = rng.integers(0, top + 1, (HEIGHT, WIDTH, channels))
            head = b" # a comment\n%d %d\n%d\n" % (WIDTH, HEIGHT, top)
            body = samples.astype(">u2" if top > 255 else "u1").tobytes()
            suffix = "pgm" if channels == 1 else "ppm"
            yield f"netpbm_{top}_bytes.{suffix}", packed + head + body, samples / top, _EXACT
            words = b" ".join(b"%d" % value for value in samples.ravel())
            yield f"netpbm_{top}_text.{suffix}", text + head + words, samples / top, _EXACT
        for channels, kind in ((1, "GRAYSCALE"), (2, "GRAYSCALE_ALPHA"), (3, "RGB")):
            samples = rng.integers(0, top + 1, (HEIGHT, WIDTH, channels))
            head = f"P7\nWIDTH {WIDTH}\nHEIGHT {HEIGHT}\nDEPTH {channels}\nMAXVAL {top}\n"
            head += f"TUPLTYPE {kind}\nENDHDR\n"
            body = samples.astype(">u2" if top > 255 else "u1").tobytes()
            yield f"pam_{top}_{kind}.pam", head.encode() + body, samples / top, _EXACT
    bits = rng.integers(0, 2, (HEIGHT, WIDTH, 1), dtype=np.uint8)
    head = b"P4 %d %d\n" % (WIDTH, HEIGHT)
    yield "bitmap.pbm", head + np.packbits(bits[..., 0], axis=1).tobytes(), 1.0 - bits, _EXACT
    for channels, magic in ((1, b"Pf"), (3, b"PF")):
        samples = rng.random((HEIGHT, WIDTH, channels)).astype(np.float32)
        for order, scale in (("<", b"-1.0"), (">", b"1.0")):
            head = magic + b"\n%d %d\n%s\n" % (WIDTH, HEIGHT, scale)
            data = head + samples[::-1].astype(order + "f4").tobytes()
            yield f"floats_{channels}_{scale[0]}.pfm", data, samples, _EXACT


def _coded(rng: np.random.Generator) -> Iterator[Case]:
    """By imagecodecs: without loss where the format can."""
    import imagecodecs as codecs

    for channels in (1, 3, 4):
        for bits in (8, 10, 12, 16):
            dtype = np.uint8 if bits == 8 else np.uint16
            samples = rng.integers(0, 2**bits, (HEIGHT, WIDTH, channels)).astype(dtype)
            plain = samples[..., 0] if channels == 1 else samples
            values = samples / (2**bits - 1)
            data = codecs.jpeg2k_encode(plain, level=0, bitspersample=bits, reversible=True)
            yield f"jpeg2000_{channels}_{bits}.jp2", data, values, _EXACT
            if bits in (8, 16):
                data = codecs.jpegxl_encode(plain, lossless=True)
                yield f"jpegxl_{channels}_{bits}.jxl", data, values, _EXACT
            if bits < 16:
                data = codecs.avif_encode(plain, level=100, bitspersample=bits, pixelformat="444")
                yield f"avif_{channels}_{bits}.avif", data, values, 1.01 / 255
    samples = rng.random((HEIGHT, WIDTH, 3)).astype(np.float32)
    yield "floats.jxl", codecs.jpegxl_encode(samples, lossless=True), samples, _EXACT
    data = codecs.rgbe_encode(samples)
    yield "radiance.hdr", data, samples, 1 / 128


def _by_pillow(rng: np.random.Generator) -> Iterator[Case]:
    forms = {
        "BMP": (1, 3, 4),
        "TGA": (1, 2, 3, 4),
        "GIF": (1,),
        "PCX": (1, 3),
        "SGI": (1, 3, 4),
        "ICO": (4,),
        "DDS": (1, 2, 3, 4),
        "WEBP": (3, 4),
        "QOI": (3, 4),
        "JPEG": (1, 3),
    }
    for form, all_channels in forms.items():
        for channels in all_channels:
            samples = rng.integers(0, 256, (HEIGHT, WIDTH, channels), dtype=np.uint8)
            if form == "JPEG":
                ramp = np.mgrid[:HEIGHT, :WIDTH].sum(0)[..., None] * [4, 5, 6][:channels]
                samples = ramp.astype(np.uint8)
            picture = Image.fromarray(samples[..., 0] if channels == 1 else samples)
            buffer = io.BytesIO()
            options = {
                "WEBP": {"lossless": True, "exact": True},
                "JPEG": {"quality": 100, "subsampling": 0},
                "ICO": {"sizes": [(WIDTH, HEIGHT)]},
            }.get(form, {})
            picture.save(buffer, form, **options)
            tolerance = _LOSSY if form == "JPEG" else _EXACT
            name = f"{form.lower()}_{channels}.{'jpg' if form == 'JPEG' else form.lower()}"
            values = samples.repeat(3, axis=2) if form == "GIF" else samples  # palettes are colours
            values = values[..., :3] if form == "BMP" else values  # without masks it has no alpha
            yield name, buffer.getvalue(), values / 255, tolerance


def saved(form: str, size=(9, 7), mode="RGB", **options) -> bytes:
    """A picture of noise by Pillow."""
    buffer = io.BytesIO()
    Image.effect_noise(size, 90).convert(mode).save(buffer, form, **options)
    return buffer.getvalue()


def read(folder: Path, data: bytes, name: str = "a.any", **options) -> np.ndarray:
    """The picture in a file of these bytes, as the library reads it."""
    path = folder / name
    path.write_bytes(data)
    return read_image(path, **options)
