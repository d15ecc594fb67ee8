"""How strong a prior should be, and how many sites: rules that see the data and not the truth.

``by_held_out`` leaves a part of the data out and asks which choice predicts it best; the noise
need not be known. ``by_discrepancy`` knows it: the strongest prior that still fits the data to
within their noise (Morozov 1966). For both, a function of yours solves the problem for a choice:
a weight, a number of sites, a pair of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Key

from sad_jax.model.arguments import check_key, describe, whole_numbers


class Tuned(NamedTuple):
    """What a rule has come to.

    Attributes:
      choice: that of the choices given which it takes.
      errors: root mean square errors of the choices that were tried, in their order.
    """

    choice: Any
    errors: tuple[float, ...]


def hold_out(
    shape: tuple[int, ...], share: float, *, key: Key[Array, ""], block: tuple[int, ...] = ()
) -> Bool[Array, ...]:
    """Draws which part of the data to leave out, in whole blocks, each with the same probability.

    What is left out should be as hard to tell from the rest as what is asked for: pixels with all
    their channels, whole views of a tomogram, squares for holes.

    Args:
      shape: of the data.
      share: probability of a block, above 0 and below 1.
      key: a JAX random key.
      block: its size along the first axes; the others it takes up whole. By default each number is
        a block of its own.

    Returns:
      bool[*shape], true where the data are left out: at least a block, and not all of them.

    Raises:
      ValueError: a share or a block that cannot be, or data of less than two blocks.

    Examples:
      >>> import jax, sad_jax as sad
      >>> out = sad.tuning.hold_out((30, 40, 3), 0.1, key=jax.random.key(0), block=(1, 1))
      >>> bool((out == out[..., :1]).all()), 0.05 < float(out.mean()) < 0.15
      (True, True)
    """
    sizes = whole_numbers(block)
    if sizes is None or len(sizes) > len(shape) or min(sizes, default=1) < 1:
        raise ValueError(f"expected a block of sizes along axes of {shape}, got {describe(block)}")
    if not 0 < share < 1:
        raise ValueError(f"expected a share above 0 and below 1, got {describe(share)}")
    sizes = sizes or (1,) * len(shape)
    counts = tuple(math.ceil(n / size) for n, size in zip(shape, sizes, strict=False))
    if math.prod(counts) < 2:
        raise ValueError(f"expected data of two blocks or more, got {sizes} of {shape}")
    chance = np.asarray(jax.random.uniform(check_key(key), counts))
    out = (chance < share) | (chance == chance.min())
    out &= chance < chance.max()
    for axis, size in enumerate(sizes):
        out = np.take(out.repeat(size, axis), range(shape[axis]), axis)
    return jnp.broadcast_to(out.reshape(out.shape + (1,) * (len(shape) - out.ndim)), shape)


def by_held_out(
    predict: Callable[[Any, Float[Array, ...]], ArrayLike],
    choices: Sequence[Any],
    data: Float[ArrayLike, ...],
    held_out: Sequence[Bool[ArrayLike, ...]],
) -> Tuned:
    """Cross-validation: the choice that best predicts data which it has not seen.

    Args:
      predict: (choice, weight) -> A(c), the data that the solution c predicts, found with the
        weights float[...] of the data: one, or zero where they are left out, such as by the loss
        ``mean(weight * (A(c) - y) ** 2)``.
      choices: to choose among.
      data: y, of any shape.
      held_out: of each round, which data are left out, bool like the data: ``hold_out`` of a key
        each. Every choice is tried in every round.

    Returns:
      Tuned: the choice of least error where data were left out, over all rounds.

    Raises:
      ValueError: no choices, no rounds, arrays that do not fit the data, or an error that is not
        finite.

    Examples:
      >>> import jax, numpy as np, sad_jax as sad
      >>> x = np.linspace(0, 1, 40)
      >>> y = x**2 + 0.05 * np.random.default_rng(0).normal(size=40)
      >>> out = [sad.tuning.hold_out((40,), 0.2, key=jax.random.key(i)) for i in range(4)]
      >>> fit = lambda degree, w: np.polyval(np.polyfit(x, y, degree, w=w), x)
      >>> sad.tuning.by_held_out(fit, [0, 2, 12], y, out).choice
      2
    """
    _check_choices(choices)
    data = np.asarray(data)
    rounds = [np.asarray(out) for out in held_out]
    fits = [out.dtype == bool and out.shape == data.shape and out.any() for out in rounds]
    if not all(fits) or not rounds:
        raise ValueError(
            f"expected rounds of held-out data, bool{list(data.shape)} and not all false, "
            f"got {describe(rounds[fits.index(False)]) if rounds else 'none'}"
        )

    kind = jax.dtypes.canonicalize_dtype(data.dtype)

    def error(choice) -> float:
        squares = [
            np.mean(_errors(predict(choice, jnp.asarray(~out, kind)), data)[out] ** 2)
            for out in rounds
        ]
        return _finite(float(np.sqrt(np.mean(squares))), choice)

    errors = tuple(error(choice) for choice in choices)
    return Tuned(choices[int(np.argmin(errors))], errors)


def by_discrepancy(
    predict: Callable[[Any], ArrayLike],
    choices: Sequence[Any],
    data: Float[ArrayLike, ...],
    noise: float | Float[ArrayLike, ...],
) -> Tuned:
    """The discrepancy principle: the strongest prior whose misfit is no more than the noise.

    A truth would misfit its data by their noise; to fit them better is to fit the noise.

    Args:
      predict: choice -> A(c), the data that the solution c predicts.
      choices: from the weakest prior to the strongest: rising weights, or falling numbers of sites.
        They are tried in this order, up to the first that misfits too much.
      data: y, of any shape.
      noise: standard deviation of the data, one for all or one for each.

    Returns:
      Tuned: the last choice with mean(((A(c) - y) / noise)^2) <= 1. Its errors are the roots of
      that.

    Raises:
      ValueError: no choices, a noise that is not above zero, predictions that do not fit the data,
        or not even the first choice fits them to within their noise.

    Examples:
      >>> import numpy as np, sad_jax as sad
      >>> x = np.linspace(0, 1, 400)
      >>> y = x**2 + 0.05 * np.random.default_rng(0).normal(size=400)
      >>> fit = lambda degree: np.polyval(np.polyfit(x, y, degree), x)
      >>> sad.tuning.by_discrepancy(fit, [12, 6, 2, 1, 0], y, 0.05).choice
      2
    """
    _check_choices(choices)
    data, noise = np.asarray(data), np.asarray(noise)
    if not (np.all(noise > 0) and np.all(np.isfinite(noise))):
        raise ValueError(f"expected a noise above zero, got {describe(noise)}")
    errors: list[float] = []
    for choice in choices:
        misfit = _errors(predict(choice), data) / noise
        errors.append(_finite(float(np.sqrt(np.mean(misfit**2))), choice))
        if errors[-1] > 1:
            break
    fitting = sum(error <= 1 for error in errors)
    if not fitting:
        raise ValueError(
            "expected a first choice that fits the data to within their noise, "
            f"got {errors[0]:.4g} times the noise for {describe(choices[0])}"
        )
    return Tuned(choices[fitting - 1], tuple(errors))


def _check_choices(choices: Sequence[Any]) -> None:
    if not len(choices):
        raise ValueError("expected choices, got none")


def _errors(predicted: ArrayLike, data: np.ndarray) -> np.ndarray:
    predicted = np.asarray(predicted)
    if predicted.shape != data.shape:
        raise ValueError(
            f"expected predictions of the data's shape {data.shape}, got {predicted.shape}"
        )
    return abs(predicted - data)


def _finite(error: float, choice) -> float:
    if not math.isfinite(error):
        raise ValueError(f"expected finite predictions, got an error of {error} for {choice!r}")
    return error
