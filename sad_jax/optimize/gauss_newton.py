"""Gauss-Newton for optax: for a fit, and for any loss that is convex in the picture.

A site has six geometric parameters and C colours; steps are *tangents*, float[6 + C, N] (see
``tangent.py``). The Gauss-Newton matrix of a fit, with the Jacobian J of the picture in tangents
and the weights V of the pixels, is J'VJ. It is never formed. Its block diagonal, one
(6 + C) x (6 + C) block a site (``least_squares.Curvature``), preconditions.

**A fit** (``scale_by_plane``) minimises 1/2 sum v |e|^2. With the gradient m = J'V e, the damping D
= damping diag J'VJ and the blocks B of J'VJ + D, a step is

    p = -B^-1 m,    step = alpha p + beta d,    d = the last step,

where alpha and beta minimise the quadratic model m's + 1/2 s'(J'VJ + D) s in the plane of p and d.
On a fixed quadratic that is preconditioned conjugate gradients (locally optimal, Knyazev 2001);
here every step sees the picture, its curvature and its lists anew, and there are no inner
iterations. B may be some steps old: it only preconditions. m is one pass over the pixels
(``least_squares.gradient_sums``). So are the products of p and d with J'VJ, where they are
measured: those of the changes of the picture by p and d (``least_squares.change_of_picture``).
They are for the first step on new lists. For the steps after it, on the same lists, they are
mostly guessed without a pass:

    d'J'VJ d   as the model of the last step has it,
    p'J'VJ d   as p'(m - m before the last step), since J'VJ d is how d changes m (a secant),
    p'J'VJ p   from the overlap p'(J'VJ + D) p / -p'm, which is 1 for sites that share no pixel.

The overlap depends on how many steps the lists and B are old, and is mostly alike from one set of
lists to the next: so it is that of the same place among the steps on the last lists, times
``ALLOWANCE``. It is measured where it has changed (``Overlap.is_known``), and where few sites make
up the slope p'm: with these it changes from step to step, and a guess would go too far.

**Any loss** L(c) of the picture c (``gauss_newton``), with gradient g and Hessian H. The
generalised Gauss-Newton matrix (Schraudolph 2002) keeps the curvature of L and drops that of the
drawing; for 1/2 |A c - y|^2 it is (AJ)'(AJ). A step solves

    (J'HJ + damping h D) p = -J'g,        h = |g'Hg| / g'g,        D = diag J'J,

by a few conjugate gradients from zero, preconditioned with h times the block diagonal of
J'J + damping D. J, J' and H are applied, never formed: by passes over the pixels, and the ``jvp``
of the loss's gradient. Where the user draws, J and J' are that drawing's ``jvp`` and its transpose,
D and the blocks those of the plain drawing, and h is multiplied by the ratio of the two |J s|^2,
s = D^-1 J'g. Where L is not convex, H may bend downwards: conjugate gradients stop at the first
such direction.

The model is quadratic, the picture is not: where a few pixels decide, a step can make the loss
larger. Such a step is taken back, and the damping of all sites is multiplied by ``FAILED`` for the
steps to come, or, for a loss of the user's own, by ``WORSE``; where a step works, it falls until it
is what it was, by ``EASIER`` (Levenberg and Marquardt). In a fit (``steps.run_gauss_newton``) each
site has a damping of its own: one whose own part of the loss has grown although the step works as a
whole is damped more from then on, by ``WORSE``; the others less, by ``BETTER``.

All steps are capped, a field by a trust region, and no border may become so sharp that sums over
its pixels lose their digits.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from sad_jax.backend import XLA, Backend, resolve
from sad_jax.broadcasting import broadcasting
from sad_jax.draw.passes import draw as draw_lists
from sad_jax.draw.passes import prepare, pull_back
from sad_jax.lists.candidates import Candidates
from sad_jax.model.sites import Sites, clamp
from sad_jax.model.tangent import (
    GEOMETRY,
    TRUST_REGION,
    TrustRegion,
    as_updates,
    chain_matrix,
    from_tangent,
    to_tangent,
)
from sad_jax.optimize.least_squares import (
    Curvature,
    Errors,
    Target,
    change_of_picture,
    gradient_and_curvature,
    make_target,
)
from sad_jax.optimize.linear import (
    PIVOT,
    TINY,
    cholesky_solve,
    conjugate_gradients,
    inner,
    minimize_in_plane,
)
from sad_jax.varying import alongside

FLOOR = 1e-6  # added to every diagonal, for sites that no pixel sees
FAILED, MOST_CAUTIOUS = 8.0, 1e4  # factor of the damping after a step that failed, and the largest
WORSE, BETTER = 4.0, 0.8  # factor of a site's damping: its part of the loss has grown, or has not
CAUTIOUS = 100.0  # the largest of a site
EASIER = 0.5  # factor of a raised damping after a step that worked, for a loss of the user's own
RISE, RISE_OF_MEAN = 0.1, 0.3  # it grew by more than so many times itself and the mean of all sites
PLACES = 8  # steps on the same lists whose overlap is remembered
ALLOWANCE = 1.05  # factor of an overlap that is guessed: too short a step harms less than too long
STEADY = 0.3  # an overlap that differs by less, relatively, from the one measured before is trusted
MANY = 20  # a length is guessed where at least as many sites, if all were equal, make up the slope
STEEPER = 1.3  # a slope so many times that of the same place on the last lists: measured again
SHARPEST = 20.0  # largest tau / S: a border narrower than a twentieth of a pixel has no gradient


class Overlap(NamedTuple):
    """By how much more a step changes the picture than its sites would one by one.

    For each of the first ``PLACES`` steps on the same lists. ``ratio``: [PLACES], of p'(J'VJ + D) p
    to -p'm, as last measured; ``slope``: [PLACES], -p'm of the last step there; ``age``:
    int32[PLACES], steps there since it was measured, itself included; 0 where it is not to be
    trusted, as it was never measured or was another before.
    """

    ratio: jax.Array
    slope: jax.Array
    age: jax.Array

    @classmethod
    def unknown(cls, dtype) -> Overlap:
        none = jnp.zeros(PLACES, dtype)
        return cls(none, none, none.astype(jnp.int32))

    def is_known(self, place: jax.Array, slope: jax.Array, measured_every: int) -> jax.Array:
        """bool[], whether the ratio at that place will do for a step of that slope."""
        recent = (self.age > 0) & (self.age < measured_every) & (slope <= STEEPER * self.slope)
        return jnp.any(self._is_at(place)[1:] & recent[1:])

    def at(self, place: jax.Array) -> jax.Array:
        """float[], the ratio at that place."""
        return jnp.sum(jnp.where(self._is_at(place), self.ratio, 0))

    def after(
        self, place: jax.Array, known: jax.Array, ratio: jax.Array, slope: jax.Array
    ) -> Overlap:
        """The overlap with what a step has found at that place: its ratio, unless it was known."""
        here = self._is_at(place)
        steady = (abs(ratio - self.ratio) < STEADY * ratio).astype(self.age.dtype)
        return Overlap(
            jnp.where(here & ~known, ratio, self.ratio),
            jnp.where(here, slope, self.slope),
            jnp.where(here, jnp.where(known, self.age + 1, steady), self.age),
        )

    def _is_at(self, place: jax.Array) -> jax.Array:
        """bool[PLACES], true at that place if it is remembered."""
        return alongside(jnp.arange(PLACES), self) == place


class LastStep(NamedTuple):
    """What ``scale_by_plane`` remembers of the step before.

    ``step``: [N, 6 + C], zero for a site that has just changed. ``caution``: [N, 1], at least 1, by
    which the damping of a site is multiplied, since steps have failed there. ``overlap``: for
    guesses. ``place``: int32[], steps on these lists so far; ``gradient``: float[6 + C, N], at the
    start of the step; ``bend``: float[], step' J'VJ step. The last three are None between lists,
    and a step that finds none guesses nothing.
    """

    step: jax.Array
    caution: jax.Array
    overlap: Overlap
    place: jax.Array | None = None
    gradient: jax.Array | None = None
    bend: jax.Array | None = None

    def on_new_lists(self, free: jax.Array) -> LastStep:
        """For a loop over steps on the same lists; the first of them guesses nothing.

        ``free``: float[6 + C, N], 1 for what may move, else 0.
        """
        step = self.step * free.T
        zeros = jnp.int32(0), jnp.zeros_like(step.T), jnp.zeros((), step.dtype)
        place, gradient, bend = alongside(zeros, (self, free))
        return self._replace(step=step, place=place, gradient=gradient, bend=bend)

    def before_new_lists(self) -> LastStep:
        """Without what is of these lists."""
        return self._replace(place=None, gradient=None, bend=None)

    def failed(self) -> LastStep:
        """Nothing to go along, and shorter steps."""
        step, bend = jax.tree.map(jnp.zeros_like, (self.step, self.bend))
        caution = jnp.minimum(self.caution * FAILED, MOST_CAUTIOUS)
        return self._replace(step=step, bend=bend, caution=caution)

    def worked(self, before: Errors, after: Errors, count: jax.Array | int) -> LastStep:
        """Shorter steps for sites whose part of the loss has grown, longer ones for others.

        ``count``: of all sites, for the mean.
        """
        mean = after.loss / count
        worse = after.of_sites > (1 + RISE) * before.of_sites + RISE_OF_MEAN * mean
        more = jnp.maximum(self.caution, jnp.minimum(self.caution * WORSE, CAUTIOUS))
        less = jnp.maximum(self.caution * BETTER, 1)
        return self._replace(caution=jnp.where(worse[:, None], more, less))


def scale_by_plane(
    trust_region: TrustRegion = TRUST_REGION,
    *,
    use_last_step: bool = True,
    blocks: bool = True,
    measured_every: int = 4,
) -> optax.GradientTransformationExtraArgs:
    """Turns a tangent gradient J'Ve into a damped Gauss-Newton step (see this module's head).

    Args:
      trust_region: caps of a step.
      use_last_step: whether a step may also go along the last one.
      blocks: whether the block diagonal preconditions, or the diagonal alone.
      measured_every: of so many sets of lists, on one at least the products of every step are
        measured; 1 if always.

    Returns:
      An optax transformation of tangents whose state is a ``LastStep``; for the same options the
      same object, so that a jitted step to which it is a static argument is compiled once. ``init``
      takes the sites;
      ``update`` takes the extra arguments ``curvature`` (in tangents), ``push`` (two tangents ->
      the changes of the picture by them, times the root of the weights), ``damping`` and
      ``backend``. Steps on the same lists begin with ``LastStep.on_new_lists``.
    """
    solve = solve_blocks if blocks else solve_diagonal
    return _scale_by_plane(trust_region, use_last_step, solve, measured_every)


@functools.cache  # by the options themselves, however they were given
def _scale_by_plane(
    trust_region: TrustRegion, use_last_step: bool, solve: Callable, measured_every: int
) -> optax.GradientTransformationExtraArgs:
    def init(sites: Sites) -> LastStep:
        n, dtype = sites.num_sites, sites.color.dtype
        step = jnp.zeros((n, GEOMETRY + sites.channels), dtype)
        return LastStep(step, jnp.ones((n, 1), dtype), Overlap.unknown(dtype))

    def update(
        gradient,
        last,
        params=None,
        *,
        curvature: Curvature,
        push,
        damping,
        backend: Backend = XLA,
        **unused,
    ):
        diagonal = damping * last.caution.T * curvature.diagonal + FLOOR
        old, overlap, place = last.step.T, last.overlap, last.place
        fresh = trust_region.capped(-solve(curvature, diagonal, gradient, backend))
        slope = inner(fresh, gradient), inner(old, gradient)
        damped = [inner(diagonal * a, b) for a, b in ((fresh, fresh), (fresh, old), (old, old))]

        def measured() -> tuple[jax.Array, ...]:
            change, before = push(fresh, old)
            return inner(change, change), inner(change, before), inner(before, before)

        def guessed() -> tuple[jax.Array, ...]:
            along = ALLOWANCE * overlap.at(place) * -slope[0] - damped[0]
            return along, inner(fresh, gradient - last.gradient), last.bend

        if use_last_step and place is not None:
            known = overlap.is_known(place, -slope[0], measured_every)
            # not where a step has failed, or where few sites make up the slope
            of_sites = jnp.sum(fresh * gradient, 0)
            known &= (jnp.min(last.caution) <= 1) & (slope[0] ** 2 >= MANY * jnp.sum(of_sites**2))
            aa, ab, bb = jax.lax.cond(known, guessed, measured)
        else:
            aa, ab, bb = measured()
        both = ab + damped[1]
        matrix = (aa + damped[0], both), (both, bb + damped[2])
        first, second = minimize_in_plane(matrix, slope)
        step = trust_region.capped(first * fresh + second * old)
        if not use_last_step:
            return step, last
        last = last._replace(step=step.T)
        if place is not None:
            ratio = matrix[0][0] / jnp.maximum(-slope[0], TINY)
            overlap = overlap.after(place, known, ratio, -slope[0])
            bend = first * first * aa + 2 * first * second * ab + second * second * bb
            here = {"place": place + 1, "gradient": gradient, "bend": jnp.maximum(bend, 0)}
            last = last._replace(overlap=overlap, **here)
        return step, last

    return optax.GradientTransformationExtraArgs(init, update)


class Damped(NamedTuple):
    """What ``gauss_newton`` remembers.

    ``steps``: int32[], done or taken back. ``caution``: float[], at least 1, by which the damping
    is multiplied, since steps have failed.
    """

    steps: jax.Array
    caution: jax.Array

    def after(self, worked: jax.Array) -> Damped:
        """Longer steps where the last one worked, else shorter ones."""
        less, more = self.caution * EASIER, self.caution * WORSE
        caution = jnp.where(worked, jnp.maximum(less, 1), jnp.minimum(more, MOST_CAUTIOUS))
        return Damped(self.steps + 1, caution)


def gauss_newton(
    damping: optax.ScalarOrSchedule = 0.03, *, iterations: int = 5
) -> optax.GradientTransformationExtraArgs:
    """Gauss-Newton for ``make_step`` and ``minimize``: fewer, dearer steps than Adam's.

    A step is long, so the lists should be found anew before each one. A step that would raise the
    loss is not done, and those to come are damped more (Levenberg and Marquardt), so the loss need
    not be convex in the picture; yet the nearer to convex it is, the longer are the steps. Where it
    bends sharply, as total variation does, let its second derivative be that of a quadratic above
    it: with ``l = stop_gradient(length)``, ``(length**2 / l + l) / 2`` has the value and the slope
    of ``length``; those of ``priors`` do. For squares of a function that is not linear, see
    ``linearized``.

    Args:
      damping: relative, the least; or an optax schedule (steps done -> number), from 0.1 to 0.01,
        say.
      iterations: of conjugate gradients, each about as dear as a gradient.

    Returns:
      An optax transformation whose ``update`` takes the extra arguments ``lists`` (Candidates),
      ``loss`` (picture float[H, W, C] -> float[]), ``draw`` ((sites, lists) -> picture; None for
      the plain one), ``color_range`` (within which colours are put back) and ``sites`` (if the
      params are these without parked radii). Its state is the number of steps and by how much the
      damping has been raised.

    Raises:
      NotImplementedError: by ``update``, sites of which some fields are masked.

    Examples:
      >>> import jax, jax.numpy as jnp, sad_jax as sad
      >>> goal = jnp.linspace(0, 1, 12)[None, :, None]
      >>> loss = lambda image: jnp.mean((image - goal) ** 2)
      >>> sites = sad.init_sites(jnp.full((8, 12, 1), 0.5), 6, key=jax.random.key(0))
      >>> options = {"steps": 12, "optimizer": sad.gauss_newton(), "refresh_every": 1}
      >>> state = sad.minimize(loss, sites, (8, 12), **options)
      >>> bool(loss(sad.render(state.sites, state.lists)) < 0.01)  # 0.1 at the start
      True
    """

    def update(
        gradient: Sites,
        state: Damped,
        params: Sites,
        *,
        sites: Sites | None = None,
        lists: Candidates,
        loss: Callable,
        draw: Callable | None = None,
        color_range: tuple[float, float] | None = None,
        **unused,
    ) -> tuple[Sites, Damped]:
        if not isinstance(params, Sites) or len(jax.tree.leaves(params)) != len(vars(params)):
            raise NotImplementedError(
                "expected Sites with all their fields for gauss_newton, got other or masked params"
            )
        sites = params if sites is None else sites
        now = state.caution * (damping(state.steps) if callable(damping) else damping)
        origin = jnp.zeros((GEOMETRY + sites.channels, sites.num_sites), sites.color.dtype)
        origin = alongside(origin, sites, lists)
        plain = _Plain.of(sites, lists)

        def moved(updates: Sites) -> Sites:
            return jax.tree.map(jnp.add, sites, updates)

        if draw is None:
            picture, push, pull = plain.picture, plain.push, plain.pull
        else:
            of_tangent = lambda tangent: draw(moved(as_updates(sites, tangent)), lists)  # noqa: E731
            picture, push = jax.linearize(of_tangent, origin)
            transposed = jax.linear_transpose(push, origin)
            pull = lambda change: transposed(change)[0]  # noqa: E731
        (value, slope), changes = jax.linearize(jax.value_and_grad(loss), picture)
        bend = lambda change: changes(change)[1]  # noqa: E731
        height = jnp.abs(jnp.vdot(slope, bend(slope))) / jnp.maximum(_squared(slope), TINY)
        height = jnp.maximum(height, TINY)

        curvature = plain.curvature()
        if draw is not None:
            along = pull(slope) / (curvature.diagonal + FLOOR)
            ratio = _squared(push(along)) / jnp.maximum(_squared(plain.push(along)), TINY)
            height = jnp.maximum(height * ratio, TINY)
        added = now * curvature.diagonal + FLOOR
        step = conjugate_gradients(
            lambda p: pull(bend(push(p))) / height + added * p,
            partial(solve_blocks, curvature, added, backend=plain.backend),
            -pull(slope) / height,
            iterations,
        )
        updates = as_updates(sites, TRUST_REGION.capped(step))
        room = jnp.log(SHARPEST * lists.grid.size) - sites.log_tau
        updates = updates.replace(log_tau=jnp.minimum(updates.log_tau, room))
        within = clamp(moved(updates), lists.canvas, color_range=color_range)
        ahead = plain.draw(within) if draw is None else draw(within, lists)
        worked = loss(ahead) < value
        kept = jax.tree.map(lambda new: jnp.where(worked, new, 0), updates)
        return kept, state.after(worked)

    return optax.GradientTransformationExtraArgs(
        lambda sites: Damped(jnp.int32(0), jnp.ones((), jnp.result_type(*jax.tree.leaves(sites)))),
        update,
    )


class _Plain(NamedTuple):
    """The plain drawing of sites by the passes of a backend: the picture, J and J' in tangents."""

    backend: Backend
    sites: Sites
    lists: Candidates
    target: Target  # the picture itself, of weight one

    @classmethod
    def of(cls, sites: Sites, lists: Candidates) -> _Plain:
        backend = resolve(None, (sites, lists), k=lists.k)
        lists = prepare(backend, sites, lists)
        picture = draw_lists(backend, sites, lists)
        target = make_target(lists.grid, picture, backend=backend, mesh=lists.mesh)
        return cls(backend, sites, lists, target)

    @property
    def picture(self) -> jax.Array:
        return self.target.picture(self.lists.grid)

    def draw(self, sites: Sites) -> jax.Array:
        """Others over the same lists."""
        return draw_lists(self.backend, sites, self.lists)

    def push(self, tangent: jax.Array) -> jax.Array:
        """J times a tangent, float[H, W, C]."""
        vector = from_tangent(self.sites, self.lists.grid.size, tangent)
        change = change_of_picture(self.sites, self.lists, self.target, vector)
        return self.target.replace(image=change).picture(self.lists.grid)

    def pull(self, change: jax.Array) -> jax.Array:
        """J' times float[H, W, C], a tangent."""
        blocks = make_target(self.lists.grid, change, mesh=self.lists.mesh).image
        sums = pull_back(self.backend, self.sites, self.lists, blocks)
        return to_tangent(self.sites, self.lists.grid.size, sums)

    def curvature(self) -> Curvature:
        """The block diagonal of J'J in tangents."""
        _, _, sums = gradient_and_curvature(self.sites, self.lists, self.target)
        return curvature_in_tangents(self.sites, self.lists.grid.size, sums, self.backend)


def linearized(function: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """The same function of a picture to Gauss-Newton's eye: value and slope, no second derivative.

    For a loss of squares |f(c)|^2 of an f that is not linear, such as the intensities of a Fourier
    transform: with ``linearized(f)`` its Hessian is J'J, J = df/dc, that of the linear f beside c.
    That is convex, and is what ``gauss_newton`` wants; Adam sees no difference.

    Args:
      function: (picture, *data) -> float[...].

    Returns:
      A function of the same arguments. Second derivatives in the picture are those of its linear
      part; all those in ``data`` are its own.

    Examples:
      >>> import jax, sad_jax as sad
      >>> loss = lambda x: (x**2 - 4.0) ** 2
      >>> near = lambda x: (sad.linearized(lambda x: x**2)(x) - 4.0) ** 2
      >>> [float(f(1.0)) for f in (jax.grad(loss), jax.grad(near))]
      [-12.0, -12.0]
      >>> [float(jax.grad(jax.grad(f))(1.0)) for f in (loss, near)]  # the second is 2 J^2
      [-4.0, 8.0]
    """

    def line(picture: jax.Array, *data) -> jax.Array:
        here = jax.lax.stop_gradient(picture)
        value, change = jax.jvp(lambda c: function(c, *data), (here,), (picture - here,))
        return value + change

    return line


@broadcasting
def curvature_in_tangents(
    sites: Sites, size: int, curvature: Curvature, backend: Backend = XLA
) -> Curvature:
    """Maps the blocks from (phi, colour) to tangents.

    Written as sums over small axes: XLA's batched products are 20 times slower at it on a CPU.
    """

    def plain(matrix, geometry, mixed):
        half = jnp.sum(matrix[:, :, None] * geometry, axis=1)
        full = jnp.sum(half[:, None] * matrix, axis=2)
        return full, jnp.sum(matrix[:, :, None] * mixed, axis=1)

    geometry, mixed = backend.run(
        *(chain_matrix(sites, size), curvature.geometry, curvature.mixed),
        xla=plain,
        pallas=lambda kernels, launch, *operands: plain(*operands),
        cpu=lambda engine, *operands: engine.map_curvature(*operands),
    )
    return Curvature(geometry, mixed, curvature.color)


@broadcasting
def solve_blocks(
    curvature: Curvature, added: jax.Array, right: jax.Array, backend: Backend = XLA
) -> jax.Array:
    """(curvature + diag added)^-1 right, by eliminating the colours; all [6 + C, N]."""
    return backend.run(
        *(curvature, added, right),
        xla=_solve_blocks,
        pallas=lambda kernels, launch, *operands: _solve_blocks(*operands),
        cpu=lambda engine, blocks, *rest: engine.solve_blocks(*blocks, *rest, least_pivot=PIVOT),
    )


def _solve_blocks(curvature: Curvature, added: jax.Array, right: jax.Array) -> jax.Array:
    scale = jax.lax.rsqrt(curvature.diagonal[:GEOMETRY] + added[:GEOMETRY])  # to a unit diagonal
    color_diagonal = curvature.color + added[GEOMETRY:]
    mixed = curvature.mixed * scale[:, None]
    eliminated = mixed / color_diagonal
    matrix = curvature.geometry * scale * scale[:, None] - _product(
        "gcn,hcn->ghn", eliminated, mixed
    )
    reduced = right[:GEOMETRY] * scale - jnp.sum(eliminated * right[GEOMETRY:], 1)
    geometry = scale * cholesky_solve(matrix, added[:GEOMETRY] * scale * scale, reduced)
    color = right[GEOMETRY:] - jnp.sum(curvature.mixed * geometry[:, None], 0)
    return jnp.concatenate([geometry, color / color_diagonal])


@broadcasting
def solve_diagonal(
    curvature: Curvature, added: jax.Array, right: jax.Array, backend: Backend = XLA
) -> jax.Array:
    """(diag curvature + diag added)^-1 right; all [6 + C, N]."""
    return right / (curvature.diagonal + added)


def _squared(vector: jax.Array) -> jax.Array:
    return jnp.vdot(vector, vector)


def _product(subscripts: str, *arrays: jax.Array) -> jax.Array:
    return jnp.einsum(subscripts, *arrays, precision="highest")
