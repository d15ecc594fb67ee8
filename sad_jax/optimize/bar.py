"""What a fit or a minimisation tells as it goes on: to the caller's function, or in a bar."""

from __future__ import annotations

from collections.abc import Callable

import jax
import numpy as np

from sad_jax.optimize.state import Progress

Report = Callable[[Progress], object]


def reporter(progress: Report | bool | None, words: Callable[[Progress], str]) -> Report:
    """What to call with every ``Progress``.

    Args:
      progress: a function, True for a bar with the time left (of tqdm, in a notebook a widget where
        ipywidgets is installed), False or None for nothing.
      words: what the bar says at its end.

    Raises:
      ValueError: for anything else.
    """
    if callable(progress):
        return progress
    if progress not in (True, False, None):
        raise ValueError(f"expected progress, a function, True or None, got {progress!r}")
    return _bar(words) if progress and jax.process_index() == 0 else lambda now: None


def _bar(words: Callable[[Progress], str]) -> Report:
    from tqdm.auto import tqdm

    bar = tqdm(unit="step")

    def show(now: Progress) -> None:
        bar.total = now.steps
        bar.set_postfix_str(words(now), refresh=False)
        bar.update(now.step - bar.n)
        if now.step >= now.steps:
            bar.close()

    return show


def in_decibels(now: Progress) -> str:
    """The PSNR in the loop and the number of sites; of a batch their means."""
    return f"{np.mean(now.psnr):.2f} dB, {np.mean(now.num_sites):.0f} sites"


def in_loss(now: Progress) -> str:
    """The loss and the number of sites."""
    return f"loss {now.value:.4g}, {now.num_sites} sites"
