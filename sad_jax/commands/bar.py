"""The progress bar of a fit, and the frames of its film."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from sad_jax.commands.interrupts import Interrupts

if TYPE_CHECKING:
    from PIL import Image

    from sad_jax.optimize.state import Progress

FRAMES = 120  # of a film, at most


def film_ending() -> str:
    """``.mp4`` where ``sad-jax[video]`` is installed, else ``.gif``."""
    return ".mp4" if find_spec("imageio_ffmpeg") else ".gif"


class Bar:
    """What a fit reports its progress to: a bar, on a terminal only, and frames if wanted.

    From the first step on there is something to keep, so this is also where Ctrl-C ends a fit.
    """

    def __init__(self, interrupts: Interrupts, *, film: bool):
        from tqdm import tqdm

        self.bar = tqdm(disable=None, unit="step", dynamic_ncols=True)
        self.interrupts = interrupts
        self.film = film
        self.frames: list[Image.Image] = []

    def __call__(self, now: Progress) -> None:
        from sad_jax.viz import film_frame

        self.bar.total = now.steps
        self.bar.set_postfix_str(f"{now.psnr:.2f} dB, {now.num_sites} sites")
        self.bar.update(now.step - self.bar.n)
        if self.film and now.step * FRAMES >= len(self.frames) * now.steps:
            self.frames.append(film_frame(now.state.sites, now.state.lists))
        self.interrupts.hold()
        self.interrupts.check()

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_) -> None:
        self.bar.close()
