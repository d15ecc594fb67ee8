"""The user's own loss: any JAX function of the picture, minimised over the sites.

``fit`` knows its target; here there is none, only a loss L(c) of the picture c: a forward operator
and data, a regulariser, a network. ``make_step`` moves the sites by any optax transformation with
the lists held fixed; between steps, on the host, ``refresh`` finds the exact lists, ``densify``
splits sites and ``prune`` removes some. ``minimize`` is the usual loop of these four. Unknowns
beside the sites, a blur kernel or a pose, are a pytree, ``params``, which the loss takes after the
picture.

Splitting and removing need an error at every pixel. With g = dL/dc, the second-order model

    L(c + delta) = L(c) + g.delta + h/2 |delta|^2,      h = g'Hg / g'g,

is, up to a constant, h/2 times the squared distance to the picture c - g/h: where the loss wants
the picture to go. That takes the target's place in ``density.py``; for a squared error it is the
target. The curvature h along the gradient is measured by a second gradient.
"""

from __future__ import annotations

import functools
import time
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Float

from sad_jax.backend import resolve
from sad_jax.draw.api import render
from sad_jax.lists.candidates import Candidates
from sad_jax.lists.exact import find_candidates
from sad_jax.model.canvas import Canvas
from sad_jax.model.sites import Sites, check_sites, clamp, pad, unparked
from sad_jax.optimize import density
from sad_jax.optimize.adam import adam
from sad_jax.optimize.bar import Report, in_loss, reporter
from sad_jax.optimize.edits import edit, refresh
from sad_jax.optimize.least_squares import make_target
from sad_jax.optimize.remember import Remembered
from sad_jax.optimize.rows import find_rows
from sad_jax.optimize.stacks import side_by_side
from sad_jax.optimize.state import Progress, State, check_state
from sad_jax.optimize.updates import start, told_of, update_by
from sad_jax.transferring import transferring

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
    params: Any = None,
    params_optimizer: optax.GradientTransformation | None = None,
    mesh: Mesh | None = None,
) -> State:
    """The state before the first step, with exact lists.

    Args:
      sites: N sites, for example ``init_sites(image, N, key=key)``; of a constant image these are
        spread evenly.
      canvas: (H, W) in pixels, or a ``Canvas``.
      optimizer: any optax transformation that starts from a pytree of arrays, also
        ``optax.partition`` by Sites of labels; ``adam()`` has a rate for each field.
      capacity: the most sites there will ever be; N by default. Arrays have this size throughout.
      params: unknowns beside the sites, a pytree of floating-point arrays; or None.
      params_optimizer: the optax transformation that moves them.
      mesh: devices, of ``sad_jax.sharding.make_mesh``, over which pixels and lists lie in bands;
        all that is done with the state goes by them. Every process makes the same state.

    Returns:
      A State.

    Raises:
      ValueError: fields that do not fit together, a capacity below N, an optimiser that cannot
        start from Sites, params without an optimiser or the other way round.

    Examples:
      >>> import jax, optax, sad_jax as sad
      >>> sites = sad.init_sites(jax.numpy.ones((6, 9, 3)), 5, key=jax.random.key(0))
      >>> state = sad.make_state(sites, (6, 9), sad.adam(), capacity=8)
      >>> state.num_sites, state.sites.num_sites
      (5, 8)
      >>> both = {"params": {"gain": 1.0}, "params_optimizer": optax.adam(0.01)}
      >>> state = sad.make_state(sites, (6, 9), sad.adam(), **both)
      >>> step = sad.make_step(
      ...     lambda image, params: ((params["gain"] * image - 2) ** 2).mean(),
      ...     sad.adam(),
      ...     params_optimizer=both["params_optimizer"],
      ... )
      >>> round(float(step(state)[0].params["gain"]), 4)
      1.01
    """
    check_sites(sites)
    _check_both(params, params_optimizer)
    n = sites.num_sites
    capacity = n if capacity is None else capacity
    if capacity < n:
        raise ValueError(f"expected a capacity of at least the {n} sites given, got {capacity}")
    padded, params = pad(sites, capacity), jax.tree.map(_as_unknown, params)
    return State(
        sites=padded,
        lists=find_candidates(padded, canvas, mesh=mesh),
        optimizer=start(optimizer, unparked(padded)),
        step=jax.device_put(np.int32(0)),
        value=jax.device_put(np.asarray(np.nan, padded.color.dtype)),
        params=params,
        params_optimizer=None if params_optimizer is None else start(params_optimizer, params),
        rows=find_rows(optimizer, padded),
    ).on_mesh()


def make_step(
    loss: Loss,
    optimizer: optax.GradientTransformation,
    *,
    params_optimizer: optax.GradientTransformation | None = None,
    color_range: tuple[float, float] | None = None,
    draw: Draw = render,
) -> Callable[..., tuple[State, jax.Array]]:
    """A jitted step: the gradient of the loss through the picture, and the optimiser's update.

    Args:
      loss: (picture float[H, W, C], *data) -> float[], any differentiable JAX function; of a state
        with params (picture, params, *data) -> float[].
      optimizer: any optax transformation, line searches included. Beside the gradient it is told
        what it takes of value, grad, value_fn, grad_fn and obj_fn, as optax calls them.
      params_optimizer: that of ``make_state``. It is told the same of the params. In one step sites
        and params move each by the other's old values.
      color_range: least and largest colour of a site; None leaves colours free.
      draw: (sites, lists) -> picture, any differentiable function of the sites whose result the
        loss takes; ``functools.partial(sad.render, implementation="xla")``, say.

    Returns:
      step(state, *data) -> (state, loss before the step). It can be scanned and vmapped. A loss
      that is not finite is returned like any other.

    Raises:
      ValueError: by the step, an optimiser that wants more than it is told, or a state whose params
        do not fit.

    Examples:
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

    @jax.jit
    def step(state: State, *data) -> tuple[State, jax.Array]:
        check_state(state)
        _check_both(state.params, params_optimizer)

        def total(sites: Sites, params) -> jax.Array:
            return of_picture(draw(sites, state.lists), params)

        def of_picture(image: jax.Array, params=state.params) -> jax.Array:
            return loss(image, *_arguments(params, data))

        def of_seen(sites: Sites) -> jax.Array:
            radius = jnp.where(state.alive, sites.radius, state.sites.radius)
            return total(sites.replace(radius=radius), state.params)

        value, (gradient, slope) = jax.value_and_grad(total, (0, 1))(state.sites, state.params)
        seen = unparked(state.sites)
        told = told_of(value, gradient, of_seen)
        told |= {"sites": state.sites, "lists": state.lists, "loss": of_picture}
        told |= {"draw": None if draw is render else draw, "color_range": color_range}
        updates, optimizer_state = update_by(optimizer, gradient, state.optimizer, seen, told)
        updates = _where(state.alive, updates, jax.tree.map(jnp.zeros_like, updates))
        sites = optax.apply_updates(state.sites, updates)
        sites = clamp(sites, state.lists.canvas, color_range=color_range)
        moved = state.replace(
            sites=sites,
            optimizer=optimizer_state,
            step=state.step + 1,
            value=value.astype(state.value.dtype),
        )
        if params_optimizer is not None:
            told = told_of(value, slope, lambda params: total(state.sites, params))
            updates, params_state = update_by(
                params_optimizer, slope, state.params_optimizer, state.params, told
            )
            params = optax.apply_updates(state.params, updates)
            moved = moved.replace(params=params, params_optimizer=params_state)
        return moved, value

    return step


@transferring
def densify(state: State, loss: Loss, count: int, *data: Any, draw: Draw = render) -> State:
    """Splits the ``count`` sites whose pixels the loss wants changed most, and finds new lists.

    The published split (largest energy / mass^0.7, two children along the main axis of the error),
    with the error of this module's head. At most as many as there are free slots.

    Args:
      state: a State.
      loss: that of ``make_step``.
      count: sites to split.
      *data: what the loss takes besides the picture and the state's params.
      draw: that of ``make_step``, if it shows the picture of ``sad.render``.

    Returns:
      The state with up to ``count`` more sites; what the optimiser remembers of them is what it
      starts with, see ``rows.py``.

    Raises:
      ValueError: a negative count, a ``draw`` that shows something else (its part after the picture
        belongs into the loss), an optimiser whose state cannot be edited.

    Examples:
      >>> import jax, jax.numpy as jnp, sad_jax as sad
      >>> sites = sad.init_sites(jnp.ones((8, 8, 1)), 4, key=jax.random.key(0))
      >>> state = sad.make_state(sites, (8, 8), sad.adam(), capacity=6)
      >>> loss = lambda image: jnp.mean(image[:, :4] ** 2)
      >>> sad.densify(state, loss, 3).num_sites, sad.prune(state, loss, 1).num_sites
      (6, 3)
    """
    _check_edit("densify", state, count, draw)
    stats, wanted = _statistics(state, loss, data, draw)
    return refresh(edit(state, stats, wanted, splits=count))


@transferring
def prune(state: State, loss: Loss, count: int, *data: Any, draw: Draw = render) -> State:
    """Takes out the ``count`` sites whose removal costs least, and finds new lists.

    Args:
      state: a State.
      loss: that of ``make_step``.
      count: sites to remove; one site is always left.
      *data: what the loss takes besides the picture and the state's params.
      draw: as in ``densify``.

    Returns:
      The state with fewer sites; their slots are free.

    Raises:
      ValueError: as in ``densify``.
    """
    _check_edit("prune", state, count, draw)
    stats, wanted = _statistics(state, loss, data, draw)
    return refresh(edit(state, stats, wanted, prunes=min(count, state.num_sites - 1)))


@transferring
def minimize(
    loss: Loss,
    sites: Sites,
    canvas: Canvas | tuple[int, int],
    *data: Any,
    steps: int = 400,
    num_sites: int | None = None,
    optimizer: optax.GradientTransformation | None = None,
    params: Any = None,
    params_optimizer: optax.GradientTransformation | None = None,
    color_range: tuple[float, float] | None = None,
    refresh_every: int = 5,
    draw: Draw = render,
    progress: Report | bool | None = None,
    mesh: Mesh | None = None,
) -> State:
    """Minimises a loss of the picture over sites and params: the usual loop of these functions.

    Over the first 60 % of the steps, in 12 stages, the number of sites grows evenly in ratio to
    ``num_sites``; in each stage a twentieth of them is also moved from where it matters least to
    where the loss wants most change. Called again with the same loss object and optimiser, and
    other data, it compiles nothing anew; what was compiled goes when the loss goes.

    Where the loss, the sites or the params become NaN or infinite, it stops with a RuntimeWarning
    that names the step, and returns the state of least loss.

    Args:
      loss: (picture float[H, W, C], *data) -> float[], any differentiable JAX function; with params
        (picture, params, *data) -> float[].
      sites: the start.
      canvas: (H, W) in pixels, or a ``Canvas``.
      *data: what the loss takes besides the picture and the params.
      steps: optimiser steps.
      num_sites: sites at the end; as many as at the start by default.
      optimizer: any optax transformation; by default ``adam`` at the published rates, times 4
        falling to a tenth by a cosine.
      params: unknowns beside the sites, as in ``make_state``.
      params_optimizer: the optax transformation that moves them.
      color_range: least and largest colour of a site; None leaves colours free.
      refresh_every: steps between two searches of the exact lists; 1 for ``gauss_newton``,
        whose steps are long.
      draw: that of ``make_step``. If it shows something else than ``sad.render`` does, no site is
        split or moved, so that ``num_sites`` must be that of the start.
      progress: called with a ``Progress`` after every step; True shows a bar.
      mesh: that of ``make_state``; every process runs the same minimisation.

    Returns:
      The last State, with exact lists; ``state.params`` are the params.

    Raises:
      ValueError: budgets, params or an optimiser that do not fit, or a loss of the start that is
        not finite.
      TypeError: within ``jit``, ``vmap`` or ``grad``.

    Examples:
      >>> import jax, jax.numpy as jnp, sad_jax as sad
      >>> row = lambda image: jnp.mean(image, 0)  # a picture is seen through its column means
      >>> seen = row(jnp.tile(jnp.linspace(0, 1, 12)[None, :, None], (8, 1, 1)))
      >>> sites = sad.init_sites(jnp.full((8, 12, 1), 0.5), 6, key=jax.random.key(0))
      >>> loss = lambda image: jnp.mean((row(image) - seen) ** 2)
      >>> state = sad.minimize(loss, sites, (8, 12), steps=60, num_sites=9)
      >>> state.num_sites, bool(loss(sad.render(state.sites, state.lists)) < 1e-3)
      (9, True)
    """
    check_sites(sites)
    check_on_host("minimize", sites, params, data)
    report = reporter(progress, in_loss)
    goal = site_goal(sites, num_sites)
    optimizer = usual_optimizer(steps) if optimizer is None else optimizer
    both = {"params": params, "params_optimizer": params_optimizer}
    state = make_state(sites, canvas, optimizer, capacity=goal, mesh=mesh, **both)
    step = remembered_step(loss, draw, color_range, optimizer, params_optimizer)
    counts = site_counts(state, goal, steps, draw)
    best, least, begin = state, np.inf, time.monotonic()
    for i in range(steps):
        if i in counts:
            state = reach(state, loss, counts[i], *data, draw=draw)
        elif i and i % refresh_every == 0:
            state = refresh(state)
        before, (state, value) = state, step(state, *data)
        if not i:
            check_on_host("minimize", value)  # what the loss closes over may be traced
        value, finite = jax.device_get((value, _all_finite(state.sites, state.params)))
        if not i and not np.isfinite(value):
            raise ValueError(
                f"expected a finite loss of the sites given, got {value}; mend the loss or its data"
            )
        if value < least:
            best, least = before, value
        if not np.isfinite(value) or not finite:
            what = "sites or params that are not" if np.isfinite(value) else f"a loss of {value}"
            warnings.warn(
                f"expected finite numbers, got {what} in step {i + 1} of {steps}; returned is the "
                f"state of least loss, {least:.6g}, after {int(best.step)} steps. Lower the "
                "optimizer's rates, clip its gradients, or mend the loss",
                RuntimeWarning,
                stacklevel=2,
            )
            return refresh(best)
        report(Progress(i + 1, steps, time.monotonic() - begin, state))
    return refresh(state)


def site_goal(sites: Sites, num_sites: int | None) -> int:
    """How many sites there are to be at the end; raises where they would be fewer than now."""
    first = sites.num_sites
    goal = first if num_sites is None else num_sites
    if goal < first:
        raise ValueError(f"expected num_sites of at least the {first} sites given, got {goal}")
    return goal


def site_counts(state: State, goal: int, steps: int, draw: Draw) -> dict[int, int]:
    """At which steps of ``minimize`` sites are moved, and how many there are to be then."""
    first = state.num_sites
    if goal > first:
        _check_draw("a growing number of sites", state, draw)
    elif not _shows_sites(state, draw):
        return {}
    shares = np.arange(1, STAGES + 1) / STAGES
    numbers = (round(first * (goal / first) ** share) for share in shares)
    return {round(GROWTH_END * steps * share): n for share, n in zip(shares, numbers, strict=True)}


def reach(state: State, loss: Loss, count: int, *data, draw: Draw) -> State:
    """The state with some of its sites moved to where they matter more, and ``count`` in all."""
    state = prune(state, loss, int(MOVED_SHARE * state.num_sites), *data, draw=draw)
    return densify(state, loss, count - state.num_sites, *data, draw=draw)


@functools.lru_cache(maxsize=16)
def usual_optimizer(steps: int) -> optax.GradientTransformation:
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


def remembered_step(
    loss: Loss, draw: Draw, color_range, *optimizers, mesh: Mesh | None = None, shared: int = 0
) -> Callable:
    """``make_step`` by optimisers of the sites and of the params, if any.

    With a mesh, of stacked states, and of ``shared`` data that all are given alike.
    """
    used = [optimizer for optimizer in optimizers if optimizer is not None]
    plain, extra = optax.GradientTransformation, optax.GradientTransformationExtraArgs
    kinds = tuple(extra if isinstance(optimizer, extra) else plain for optimizer in used)
    functions = (loss, draw, *(optimizer.update for optimizer in used))
    options = (kinds, color_range, draw is render, mesh, shared)
    return _steps.get(functions, *options, make=_make_step)


def _make_step(loss: Loss, draw: Draw, *rest) -> Callable:
    """``rest``: an ``update`` or two, their kinds, and what the options of the memory are else."""
    *updates, kinds, color_range, usual, mesh, shared = rest
    made = [kind(init=None, update=f) for kind, f in zip(kinds, updates, strict=True)]
    optimizer, params_optimizer = (*made, None)[:2]  # a step needs no more of them
    step = make_step(
        loss,
        optimizer,
        params_optimizer=params_optimizer,
        color_range=color_range,
        draw=render if usual else draw,
    )
    return step if mesh is None else jax.jit(side_by_side(step, mesh, shared))


def _make_wanted_picture(loss: Loss) -> Callable:
    return jax.jit(functools.partial(wanted_picture, loss))


def _statistics(
    state: State, loss: Loss, data: tuple, draw: Draw
) -> tuple[density.Statistics, jax.Array]:
    """The statistics of all sites, and the picture that the loss wants."""
    wanted_of = _wanted_pictures.get((loss,), make=_make_wanted_picture)
    wanted = wanted_of(draw(state.sites, state.lists), *_arguments(state.params, data))
    backend = resolve(None, state.sites, k=state.lists.k)
    lists = state.lists
    target = make_target(lists.grid, wanted, backend=backend, mesh=lists.mesh)
    return density.statistics(state.sites, lists, target), wanted


def _check_edit(name: str, state: State, count: int, draw: Draw) -> None:
    """Raises unless so many sites of the state can be edited."""
    check_state(state)
    if count < 0:
        raise ValueError(f"expected a count of at least 0 sites, got {count}")
    check_on_host(name, state)
    _check_draw(name, state, draw)


def _check_draw(name: str, state: State, draw: Draw) -> None:
    """Raises a ValueError unless ``draw`` shows the picture whose pixels an edit compares."""
    if not _shows_sites(state, draw):
        raise ValueError(
            f"expected a draw that shows the picture of sad.render for {name}, got another one; "
            "let the loss do what it does to that picture"
        )


def _shows_sites(state: State, draw: Draw) -> bool:
    """Whether ``draw`` shows the picture of ``render``, of the same sites in random colours."""
    if getattr(draw, "func", draw) is render:  # or a partial of it
        return True
    colors = np.random.default_rng(0).uniform(size=state.sites.color.shape)
    sites = state.sites.replace(color=jnp.asarray(colors, state.sites.color.dtype))
    found, expected = (f(sites, state.lists) for f in (draw, render))
    alike = isinstance(found, jax.Array) and found.shape == expected.shape
    return alike and bool(jnp.allclose(found, expected, atol=1e-4))


@jax.jit
def _all_finite(*trees) -> jax.Array:
    """bool[], of all their leaves."""
    return jnp.all(jnp.asarray([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(trees)]))


def _check_both(params, params_optimizer: optax.GradientTransformation | None) -> None:
    """Raises a ValueError unless there are both, or neither."""
    if (params is None) != (params_optimizer is None):
        has, lacks = "params", "params_optimizer"
        has, lacks = (lacks, has) if params is None else (has, lacks)
        raise ValueError(f"expected {lacks} beside {has}, got none")


def check_on_host(name: str, *trees) -> None:
    """Raises a TypeError within ``jit``, ``vmap`` and other transformations."""
    leaves = [jnp.zeros(()), *jax.tree.leaves(trees)]  # within jit even a constant is traced
    if any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
        raise TypeError(
            f"expected arrays, got tracers: {name} works on the host; call it outside jit, vmap "
            "and grad, or transform the step of make_step"
        )


def _as_unknown(leaf) -> jax.Array:
    """An array of the params, without JAX's weak type, which would compile a step twice."""
    dtype = jnp.result_type(leaf)
    if not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(f"expected params of floating-point numbers, got {dtype}")
    return jnp.asarray(leaf, dtype)


def _arguments(params, data: tuple) -> tuple:
    """What a loss takes beside the picture."""
    return data if params is None else (params, *data)


def _where(rows: jax.Array, new: Sites, old: Sites) -> Sites:
    """Of every field the rows of ``new`` where true, else of ``old``."""
    choose = lambda a, b: jnp.where(rows.reshape(-1, *[1] * (a.ndim - 1)), a, b)  # noqa: E731
    return jax.tree.map(choose, new, old)
