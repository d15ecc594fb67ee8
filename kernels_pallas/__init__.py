"""GPU kernels in Pallas. What is supported here, and why not."""

from __future__ import annotations


def require(kernel: str):
    """The named kernel, or the reason why it does not run here.

    Raises:
      NotImplementedError: there is no Pallas kernel of that name yet.
    """
    raise NotImplementedError(
        f"expected a Pallas kernel {kernel!r}, got none: this version renders with XLA only; "
        'use implementation=None or "xla"'
    )
