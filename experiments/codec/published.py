"""What other representations report of Kodak's 24 photographs: means, at nominal rates.

None of these was measured here, and no file of these sizes was seen: a rate is what its authors or
users count. Left out is Image-GS: its own curves are of other pictures; of Kodak's we know 36.90 dB
at 50,000 Gaussians alone (Iinbor et al., SIGGRAPH 2026), with no rate.
"""

from __future__ import annotations

from typing import NamedTuple


class Published(NamedTuple):
    """Bits a pixel and PSNR in dB by a name, and where they are from."""

    bpp: tuple[float, ...]
    psnr: tuple[float, ...]
    source: str


PUBLISHED = {
    "COIN": Published(
        (0.0368, 0.0736, 0.1604, 0.3074, 0.6109, 1.209),
        (22.41, 23.21, 24.64, 26.41, 28.41, 30.64),
        "its results.json, by baselines/kodak.py of google-deepmind/c3_neural_compression",
    ),
    "GaussianImage, before rounding": Published(
        (9000 * 56 / (768 * 512),),
        (32.05,),
        "9,000 Gaussians in float32 by its own program (Xinjie-Q/GaussianImage, issue 6); the rate "
        "is that of its codec, 32 bits of a position, 18 of a covariance and 6 of a colour, whose "
        "rounding costs more PSNR",
    ),
    "GaussianImage++": Published(
        (0.5649,),
        (28.66,),
        "its own program, run by a user (Sweethyh/GaussianImage_plus, issue 1)",
    ),
}
