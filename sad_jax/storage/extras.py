"""Formats of other libraries: JPEG XL and Radiance (imagecodecs), HEIF (pillow-heif), OpenEXR.

The last two libraries come with ``pip install 'sad-jax[formats]'``; without them the error says so.
"""

from __future__ import annotations

import importlib
import io
from collections.abc import Callable
from typing import Any

import numpy as np

from sad_jax.model.room import check_size
from sad_jax.storage.boxes import other_colors
from sad_jax.storage.jpegxl import read_jpegxl
from sad_jax.storage.pixels import Pixels, frames_note, scaled

_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"heif"}
_AVIF_BRANDS = {b"avif", b"avis"}  # Pillow reads these


def reader(data: bytes) -> Callable[[bytes, int], Pixels] | None:
    """The reader of one of these formats, or None."""
    if data.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")):
        return read_jpegxl
    if data.startswith((b"#?RADIANCE", b"#?RGBE")):
        return read_radiance
    if data.startswith(b"\x76\x2f\x31\x01"):
        return read_exr
    if data[4:8] == b"ftyp":
        length = int.from_bytes(data[:4], "big")
        brands = {data[i : i + 4] for i in (8, *range(16, min(length, 256), 4))}
        if brands & _HEIF_BRANDS and not brands & _AVIF_BRANDS:
            return read_heif
    return None


def read_radiance(data: bytes, limit: int) -> Pixels:
    """Radiance HDR: linear light, kept as it is."""
    import imagecodecs

    head, _, rest = data.partition(b"\n\n")
    words = rest[: rest.index(b"\n")].split()
    if words[0::2] != [b"-Y", b"+X"] or b"FORMAT=32-bit_rle_rgbe" not in head:
        raise ValueError("Radiance that is turned, or of other colours than RGB")
    width, height = int(words[3]), int(words[1])
    check_size(width, height, 3, limit)
    values = imagecodecs.rgbe_decode(data)
    notes = ["expected linear values, got an exposure with them, not applied"]
    return Pixels(values, colors=3, bits=0, notes=notes if b"\nEXPOSURE=" in head else [])


def read_heif(data: bytes, limit: int) -> Pixels:
    """The primary picture, already upright."""
    heif = _import("pillow_heif", "HEIF")
    file = heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=False, hdr_to_16bit=False)
    width, height = file.size
    check_size(width, height, 4, limit)
    picture = file[file.primary_index]
    values = np.atleast_3d(np.asarray(picture))
    bits = picture.info.get("bit_depth", 8)
    profile = picture.info.get("icc_profile")
    return Pixels(
        scaled(values, bits),
        colors=1 if values.shape[2] < 3 else 3,
        bits=bits,
        profile=profile,
        associated=bool(getattr(picture, "premultiplied_alpha", False)),
        notes=frames_note(len(file)) + ([] if profile else other_colors(data)),
    )


def read_exr(data: bytes, limit: int) -> Pixels:
    """OpenEXR's first part: R, G, B, A or Y, A, else all channels by name; kept linear."""
    exr = _import("OpenEXR", "OpenEXR")
    with exr.File(io.BytesIO(data), header_only=True) as file:
        header = file.header()
        names = sorted(channel.name for channel in header["channels"])
        low, high = header["dataWindow"]
        parts = len(file.parts)
    width, height = (int(size) for size in high - low + 1)
    check_size(width, height, len(names), limit)
    main = next((m for m in ("RGB", "Y") if set(m) <= set(names)), "")
    chosen = [*main, *(["A"] if "A" in names else [])] if main else names
    with exr.File(io.BytesIO(data), separate_channels=True) as file:
        planes = [file.channels()[name].pixels for name in chosen]
    if any(plane.dtype.kind != "f" or plane.shape != (height, width) for plane in planes):
        raise ValueError("OpenEXR of channels that are no floats, or not of one size")
    notes = frames_note(parts)
    if left := sorted(set(names) - set(chosen)):
        notes.append(f"expected channels {''.join(chosen)}, got also {', '.join(left)}, not read")
    if "chromaticities" in header:
        notes.append("expected primaries of sRGB, got chromaticities with them, not applied")
    values = np.stack(planes, axis=2).astype(np.float32)
    alpha = bool(main) and "A" in chosen
    return Pixels(values, colors=len(main), bits=0, associated=alpha, notes=notes)


def _import(module: str, form: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise ValueError(f"{form}, for which: pip install 'sad-jax[formats]'") from None
