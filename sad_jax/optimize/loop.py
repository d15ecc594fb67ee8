"""The user's own loss: any JAX function of the picture, minimised over the sites.

``fit`` knows its target; here there is none, only a loss L(c) of the picture c: a forward operator
and data, a regulariser, a network. ``make_step`` moves the sites by any optax transformation with
the lists held fixed; between steps, on the host, ``refresh`` finds the exact lists, ``densify``
splits sites and ``prune`` removes some. ``minimize`` is the usual loop of these four.

Splitting and removing need an error at every pixel. With g = dL/dc, the second-order model

    L(c + delta) = L(c) + g.delta + h/2 |delta|^2,      h = g'Hg / g'g,

is, up to a constant, h/2 times the squared distance to the picture c - g/h: where the loss wants
the picture to go. That takes the target's place in ``density.py``; for a squared error it is the
target. The curvature h along the gradient is measured by a second gradient.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from sad_jax.backend import resolve
from sad_jax.draw.api import render
from sad_jax.lists.candidates import Candidates
from sad_jax.lists.exact import find_candidates
from sad_jax.model.canvas import Canvas
from sad_jax.model.sites import Sites, check_sites, clamp, pad
from sad_jax.optimize import density
from sad_jax.optimize.adam import adam
from sad_jax.optimize.edits import edit, refresh
from sad_jax.optimize.least_squares import make_target
from sad_jax.optimize.remember import Remembered
from sad_jax.optimize.state import Progress, State

PROBE = 0.01  # root mean square of the step by which the curvature is measured
RATE = 4.0  # times the published rates, at the start
STAGES = 12  # at which ``minimize`` edits the sites
GROWTH_END = 0.6  # of the steps: no more edits after it
MOVED_SHARE = 0.05  # of the sites, taken out where they matter least and split where most, a stage

Loss = Callable[..., jax.Array]
Draw = Callable[[Sites, Candidates], jax.Array]


def make_state(
    sites: Sites,
    canvas: Canvas | tuple[int, int],
    optimizer: optax.GradientTransformation,
    *,
    capacity: int | None = None,
) -> State:
    """The state before the first step, with exact lists.

    Args:
      sites: N sites, for example ``init_sites(image, N, key=key)``; of a constant image these are
        spread evenly.
      canvas: (H, W) in pixels, or a ``Canvas``.
      optimizer: any optax transformation; ``adam()`` has a rate for each field.
      capacity: the most sites there will ever be; N by default. Arrays have this size throughout.

    Returns:
      A State.

    Raises:
      ValueError: fields that do not fit together, or a capacity below N.

    Example:
      >>> import jax, sad_jax as sad
      >>> sites = sad.init_sites(jax.numpy.ones((6, 9, 3)), 5, key=jax.random.key(0))
      >>> state = sad.make_state(sites, (6, 9), sad.adam(), capacity=8)
      >>> state.num_sites, state.sites.num_sites
      (5, 8)
    """
    check_sites(sites)
    n = sites.num_sites
    capacity = n if capacity is None else capacity
    if capacity < n:
        raise ValueError(f"expected a capacity of at least the {n} sites given, got {capacity}")
    padded = pad(sites, capacity)
    return State(
        sites=padded,
        lists=find_candidates(padded, canvas),
        optimizer=jax.jit(optimizer.init)(padded),
        step=jax.device_put(np.int32(0)),
        value=jax.device_put(np.asarray(np.nan, padded.color.dtype)),
    )


def make_step(
    loss: Loss,
    optimizer: optax.GradientTransformation,
    *,
    color_range: tuple[float, float] | None = None,
    draw: Draw = render,
) -> Callable[..., tuple[State, jax.Array]]:
    """A jitted step: the gradient of the loss through the picture, and the optimiser's update.

    Args:
      loss: (picture float[H, W, C], *data) -> float[], any differentiable JAX function.
      optimizer: any optax transformation, line searches included.
      color_range: least and largest colour of a site; None leaves colours free.
      draw: (sites, lists) -> picture; ``functools.partial(sad.render, implementation="xla")``, say.

    Returns:
      step(state, *data) -> (state, loss before the step). It can be scanned and vmapped.

    Example:
      >>> import jax, jax.numpy as jnp, sad_jax as sad
      >>> sites = sad.init_sites(jnp.ones((6, 9, 1)), 5, key=jax.random.key(0))
      >>> optimizer = sad.adam()
      >>> state = sad.make_state(sites, (6, 9), optimizer)
      >>> step = sad.make_step(lambda image: jnp.mean((image - 0.5) ** 2), optimizer)
      >>> state, first = step(state)
      >>> state, second = step(state)
      >>> bool(second < first)
      True
    """
    optimizer = optax.with_extra_args_support(optimizer)

    @jax.jit
    def step(state: State, *data) -> tuple[State, jax.Array]:
        def total(sites: Sites, *, lists=None, loss=None) -> jax.Array:
            """optax's line searches hand it the arguments that only ``gauss_newton`` takes."""
            return of_picture(draw(sites, state.lists))

        def of_picture(image: jax.Array) -> jax.Array:
            return loss(image, *data)

        value, gradient = jax.value_and_grad(total)(state.sites)
        told = {"value": value, "grad": gradient, "value_fn": total}  # what optax calls them
        told |= {"lists": state.lists, "loss": of_picture}
        updates, optimizer_state = optimizer.update(gradient, state.optimizer, state.sites, **told)
        updates = _where(state.alive, updates, jax.tree.map(jnp.zeros_like, updates))
        sites = optax.apply_updates(state.sites, updates)
        sites = clamp(sites, state.lists.canvas, color_range=color_range)
        moved = state.replace(
            sites=sites,
            optimizer=optimizer_state,
            step=state.step + 1,
            value=value.astype(state.value.dtype),
        )
        return moved, value

    return step


def densify(state: State, loss: Loss, count: int, *data, draw: Draw = render) -> State:
    """Splits the ``count`` sites whose pixels the loss wants changed most, and finds new lists.

    The published split (largest energy / mass^0.7, two children along the main axis of the error),
    with the error of this module's head. At most as many as there are free slots.

    Args:
      state: a State.
      loss: that of ``make_step``.
      count: sites to split.
      *data: what the loss takes besides the picture.
      draw: that of ``make_step``.

    Returns:
      The state with up to ``count`` more sites; their optimiser state is zero.

    Example:
      >>> import jax, jax.numpy as jnp, sad_jax as sad
      >>> sites = sad.init_sites(jnp.ones((8, 8, 1)), 4, key=jax.random.key(0))
      >>> state = sad.make_state(sites, (8, 8), sad.adam(), capacity=6)
      >>> loss = lambda image: jnp.mean(image[:, :4] ** 2)
      >>> sad.densify(state, loss, 3).num_sites, sad.prune(state, loss, 1).num_sites
      (6, 3)
    """
    _check_count(count)
    stats, wanted = _statistics(state, loss, data, draw)
    return refresh(edit(state, stats, wanted, splits=count))


def prune(state: State, loss: Loss, count: int, *data, draw: Draw = render) -> State:
    """Takes out the ``count`` sites whose removal costs least, and finds new lists.

    Args:
      state: a State.
      loss: that of ``make_step``.
      count: sites to remove; one site is always left.
      *data: what the loss takes besides the picture.
      draw: that of ``make_step``.

    Returns:
      The state with fewer sites; their slots are free.
    """
    _check_count(count)
    stats, wanted = _statistics(state, loss, data, draw)
    return refresh(edit(state, stats, wanted, prunes=min(count, state.num_sites - 1)))


def minimize(
    loss: Loss,
    sites: Sites,
    canvas: Canvas | tuple[int, int],
    *data,
    steps: int = 400,
    num_sites: int | None = None,
    optimizer: optax.GradientTransformation | None = None,
    color_range: tuple[float, float] | None = None,
    refresh_every: int = 5,
    draw: Draw = render,
    progress: Callable[[Progress], None] | None = None,
) -> State:
    """Minimises a loss of the picture over the sites: the usual loop of this module's functions.

    Over the first 60 % of the steps, in 12 stages, the number of sites grows evenly in ratio to
    ``num_sites``; in each stage a twentieth of them is also moved from where it matters least to
    where the loss wants most change. Called again with the same loss object and optimiser, and
    other data, it compiles nothing anew; what was compiled goes when the loss goes.

    Args:
      loss: (picture float[H, W, C], *data) -> float[], any differentiable JAX function.
      sites: the start.
      canvas: (H, W) in pixels, or a ``Canvas``.
      *data: what the loss takes besides the picture.
      steps: optimiser steps.
      num_sites: sites at the end; as many as at the start by default.
      optimizer: any optax transformation; by default ``adam`` at the published rates, times 4
        falling to a tenth by a cosine.
      color_range: least and largest colour of a site; None leaves colours free.
      refresh_every: steps between two searches of the exact lists; 1 for ``gauss_newton``,
        whose steps are long.
      draw: (sites, lists) -> picture.
      progress: called with a ``Progress`` after every step.

    Returns:
      The last State, with exact lists.

    Example:
      >>> import jax, jax.numpy as jnp, sad_jax as sad
      >>> row = lambda image: jnp.mean(image, 0)  # a picture is seen through its column means
      >>> seen = row(jnp.tile(jnp.linspace(0, 1, 12)[None, :, None], (8, 1, 1)))
      >>> sites = sad.init_sites(jnp.full((8, 12, 1), 0.5), 6, key=jax.random.key(0))
      >>> loss = lambda image: jnp.mean((row(image) - seen) ** 2)
      >>> state = sad.minimize(loss, sites, (8, 12), steps=60, num_sites=9)
      >>> state.num_sites, bool(loss(sad.render(state.sites, state.lists)) < 1e-3)
      (9, True)
    """
    start, goal = sites.num_sites, sites.num_sites if num_sites is None else num_sites
    if goal < start:
        raise ValueError(f"expected num_sites of at least the {start} sites given, got {goal}")
    optimizer = _usual_optimizer(steps) if optimizer is None else optimizer
    more = isinstance(optimizer, optax.GradientTransformationExtraArgs)
    functions = (loss, optimizer.update, draw)
    step = _steps.get(functions, more, color_range, make=_make_remembered_step)
    state = make_state(sites, canvas, optimizer, capacity=goal)
    edits = {round(GROWTH_END * steps * i / STAGES): i for i in range(1, STAGES + 1)}
    begin = time.monotonic()
    for i in range(steps):
        if i in edits:
            count = round(start * (goal / start) ** (edits[i] / STAGES))
            state = prune(state, loss, int(MOVED_SHARE * state.num_sites), *data, draw=draw)
            state = densify(state, loss, count - state.num_sites, *data, draw=draw)
        elif i and i % refresh_every == 0:
            state = refresh(state)
        state, _ = step(state, *data)
        if progress is not None:
            progress(Progress(i + 1, steps, time.monotonic() - begin, state))
    return refresh(state)


@functools.lru_cache(maxsize=16)
def _usual_optimizer(steps: int) -> optax.GradientTransformation:
    """The same object every time, so that its step is compiled once."""
    return adam(optax.cosine_decay_schedule(RATE, steps, 0.1))


def wanted_picture(loss: Loss, image: Float[Array, "H W C"], *data) -> Float[Array, "H W C"]:
    """Where the loss wants the picture to go: c - g/h, by steps of at most one anywhere.

    Args:
      loss: (picture, *data) -> float[].
      image: float[H, W, C], the picture c.
      *data: what the loss takes besides.

    Returns:
      float[H, W, C].
    """
    slope = jax.grad(lambda picture: loss(picture, *data))
    gradient = slope(image)
    tiny = jnp.finfo(image.dtype).tiny
    largest = jnp.maximum(jnp.max(jnp.abs(gradient)), tiny)
    unit = gradient / largest  # a loss of any scale
    probe = PROBE / jnp.maximum(jnp.sqrt(jnp.mean(unit * unit)), PROBE)
    change = (gradient - slope(image - probe * unit)) / largest
    curvature = jnp.abs(jnp.vdot(unit, change)) / jnp.maximum(probe * jnp.vdot(unit, unit), tiny)
    return image - unit / jnp.maximum(curvature, 1)


_steps = Remembered()  # by loss, optimiser and draw
_wanted_pictures = Remembered()  # by loss


def _make_remembered_step(loss: Loss, update: Callable, draw: Draw, more: bool, color_range):
    """A step by an optimiser's ``update``, which takes ``more`` arguments or not."""
    kind = optax.GradientTransformationExtraArgs if more else optax.GradientTransformation
    optimizer = kind(init=None, update=update)  # a step needs no more of it
    return make_step(loss, optimizer, color_range=color_range, draw=draw)


def _make_wanted_picture(loss: Loss) -> Callable:
    return jax.jit(functools.partial(wanted_picture, loss))


def _statistics(
    state: State, loss: Loss, data: tuple, draw: Draw
) -> tuple[density.Statistics, np.ndarray]:
    """The statistics of all sites, and the picture that the loss wants."""
    wanted_of = _wanted_pictures.get((loss,), make=_make_wanted_picture)
    wanted = wanted_of(draw(state.sites, state.lists), *data)
    backend = resolve(None, state.sites, k=state.lists.k)
    target = make_target(state.lists.grid, wanted, backend=backend)
    return density.statistics(state.sites, state.lists, target), np.asarray(wanted)


def _check_count(count: int) -> None:
    if count < 0:
        raise ValueError(f"expected a count of at least 0 sites, got {count}")


def _where(rows: jax.Array, new: Sites, old: Sites) -> Sites:
    """Of every field the rows of ``new`` where true, else of ``old``."""
    choose = lambda a, b: jnp.where(rows.reshape(-1, *[1] * (a.ndim - 1)), a, b)  # noqa: E731
    return jax.tree.map(choose, new, old)
