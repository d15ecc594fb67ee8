"""Priors: what a picture or a diagram is usually like, as terms to add to a loss of your own.

An ill-posed problem needs one: data alone do not say what lies in a hole. The terms of a picture
prefer flat ones (``total_variation``) or linear ramps (``second_variation``), both with edges
allowed; ``site_variation`` prefers neighbouring sites that are alike.

Each is a mean of lengths l = sqrt(|v|^2 + e^2) of vectors v, rounded at zero by e so that it has a
gradient there. Its second derivative is that of the quadratic that touches it from above,

    (|v|^2 / m + m) / 2 >= l,    with equality at m = l,    m held fixed in derivatives,

so that ``gauss_newton`` sees something convex that bounds the term (as in iteratively reweighted
least squares, or lagged diffusivity; Vogel and Oman 1996).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sad_jax.lists.candidates import Candidates, check_lists
from sad_jax.model.arguments import describe
from sad_jax.model.sites import Sites, check_sites

ROUNDING = 1e-3  # of lengths at zero, in a picture's own values
FIELDS = ("position", "log_tau", "radius", "color", "log_aniso")


def total_variation(
    image: Float[Array, "H W C"], *, rounding: float = ROUNDING
) -> Float[Array, ""]:
    """The mean over pixels of |grad c|, one length for all channels (Rudin, Osher, Fatemi 1992).

    grad c are the differences to the pixels below and to the right, zero at the last ones.

    Args:
      image: float[H, W, C].
      rounding: e, see this module's head; the least value.

    Returns:
      float[], in values a pixel.

    Raises:
      ValueError: an image of other axes.

    Examples:
      >>> import jax.numpy as jnp
      >>> from sad_jax import priors
      >>> step = jnp.zeros((4, 10, 1)).at[:, 5:].set(0.5)
      >>> round(float(priors.total_variation(step)), 3)
      0.051
    """
    return _mean_length(slopes(_checked(image)), rounding)


def second_variation(
    image: Float[Array, "H W C"], *, rounding: float = ROUNDING
) -> Float[Array, ""]:
    """The mean over pixels of |Hessian of c|, Frobenius' norm of all channels: no price on ramps.

    Second differences c_xx, c_yy and c_xy (twice) where pixels have the neighbours, else zero. With
    a small rounding, edges of the slope are allowed (Lysaker, Lundervold, Tai 2003); with one that
    is large beside the differences it is, up to constants, the bending energy |Hessian|^2, whose
    minimiser is biharmonic.

    Args, returns and raises as those of ``total_variation``.

    Examples:
      >>> import jax.numpy as jnp
      >>> from sad_jax import priors
      >>> ramp = jnp.linspace(0, 1, 12)[None, :, None] * jnp.ones((8, 1, 1))
      >>> [round(float(f(ramp)), 3) for f in (priors.second_variation, priors.total_variation)]
      [0.001, 0.083]
    """
    return _mean_length(bends(_checked(image)), rounding)


def site_variation(
    sites: Sites, lists: Candidates, field: str = "color", *, rounding: float = ROUNDING
) -> Float[Array, ""]:
    """How much neighbouring sites differ in a field: the mean of their distance there.

    Neighbours are sites that share a list. Over all cells, and all pairs within the list of each,
    it is the mean of |f_i - f_j|; so pairs count as often as they are seen together. A loss sees
    sites through a ``draw`` that returns them beside the picture.

    Args:
      sites: N sites.
      lists: their lists.
      field: "color", "log_tau", "log_aniso", "radius" or "position".
      rounding: e, see this module's head; the least value, where there are two sites or more.

    Returns:
      float[], in units of the field; zero for a single site.

    Raises:
      ValueError: sites and lists that do not fit together, another field.

    Examples:
      >>> import jax, jax.numpy as jnp, sad_jax as sad
      >>> sites = sad.init_sites(jnp.full((8, 12, 1), 0.5), 6, key=jax.random.key(0))
      >>> lists = sad.find_candidates(sites, (8, 12))
      >>> round(float(sad.priors.site_variation(sites, lists)), 3)  # all have one colour
      0.001
      >>> draw = lambda sites, lists: {
      ...     "image": sad.render(sites, lists),
      ...     "rough": sad.priors.site_variation(sites, lists, "log_tau"),
      ... }
      >>> loss = lambda drawn: jnp.mean((drawn["image"] - 0.4) ** 2) + 1e-3 * drawn["rough"]
      >>> step = sad.make_step(loss, sad.adam(), draw=draw)  # or minimize(..., draw=draw)
    """
    check_sites(sites)
    check_lists(sites, lists)
    if field not in FIELDS:
        raise ValueError(f"expected a field, one of {', '.join(FIELDS)}, got {describe(field)}")
    first, second = np.triu_indices(lists.k, 1)
    of_lists = getattr(sites, field).reshape(sites.num_sites, -1).T[:, lists.ids]  # [D, Hc, Wc, K]
    alive = sites.alive[lists.ids]
    counts = alive[..., first] & alive[..., second]
    apart = jnp.where(counts, of_lists[..., first] - of_lists[..., second], 0)
    lengths = _lengths(jnp.sum(apart**2, 0), rounding)
    return jnp.sum(jnp.where(counts, lengths, 0)) / jnp.maximum(jnp.sum(counts), 1)


def slopes(image: jax.Array) -> jax.Array:
    """Differences to the pixels below and to the right, zero at the last, float[2, H, W, C]."""
    down = jnp.diff(image, axis=0, append=image[-1:])
    return jnp.stack([down, jnp.diff(image, axis=1, append=image[:, -1:])])


def bends(image: jax.Array) -> jax.Array:
    """The second differences yy, xx and twice xy, zero without neighbours, float[4, H, W, C]."""
    height, width, _ = image.shape
    inner = lambda size: (1, 1) if size > 2 else (0, size)  # noqa: E731
    down = jnp.pad(jnp.diff(image, 2, axis=0), (inner(height), (0, 0), (0, 0)))
    across = jnp.pad(jnp.diff(image, 2, axis=1), ((0, 0), inner(width), (0, 0)))
    mixed = jnp.pad(jnp.diff(jnp.diff(image, axis=0), axis=1), ((0, 1), (0, 1), (0, 0)))
    return jnp.stack([down, across, mixed, mixed])


def _mean_length(vectors: jax.Array, rounding: float) -> jax.Array:
    """Of vectors [D, H, W, C], each pixel's of length D C."""
    return jnp.mean(_lengths(jnp.sum(vectors**2, (0, 3)), rounding))


def _lengths(squared: jax.Array, rounding: float) -> jax.Array:
    """sqrt(squared + e^2), with the second derivative of the quadratic above it."""
    squared = squared + rounding**2
    length = jax.lax.stop_gradient(jnp.sqrt(squared))
    return (squared / length + length) / 2


def _checked(image: jax.Array) -> jax.Array:
    if np.ndim(image) != 3:
        raise ValueError(f"expected an image [H, W, C], got {describe(image)}")
    return image
