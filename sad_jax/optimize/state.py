"""State: what a fit or a minimisation carries from step to step; Progress: what it reports."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike
from jaxtyping import Float

from sad_jax import html
from sad_jax.backend import resolve
from sad_jax.draw.passes import draw
from sad_jax.lists.candidates import Candidates
from sad_jax.metrics import mse_to_psnr
from sad_jax.model.arguments import describe
from sad_jax.model.sites import Sites
from sad_jax.optimize.rows import Rows
from sad_jax.pytree import PyTree, static
from sad_jax.sharding import whole
from sad_jax.storage.pictures import as_rgb

if TYPE_CHECKING:
    from sad_jax.viewer.page import Page


class Best(PyTree):
    """The sites of least loss that a fit has seen as a decoder draws them: on their exact lists.

    Attributes:
      sites: as many rows as the state has.
      loss: float[], infinite as long as nothing has been seen.
    """

    sites: Sites
    loss: jax.Array

    @classmethod
    def none_yet(cls, sites: Sites) -> Best:
        """Nothing seen; ``sites`` give the shapes."""
        return cls(sites, jax.device_put(np.asarray(np.inf, sites.color.dtype)))

    def or_else(self, sites: Sites, loss: jax.Array, counts: jax.Array | bool) -> Best:
        """The better of this and other sites, if those count."""
        return jax.tree.map(
            partial(jnp.where, counts & (loss < self.loss)), Best(sites, loss), self
        )


class State(PyTree):
    """Everything that is carried from step to step, by a fit and by a loss of the user's own.

    Attributes:
      sites: as many as there is capacity; free slots hold parked sites, which no pixel sees.
      lists: the lists of the cells.
      optimizer: the optax state.
      step: int32[], steps done.
      value: float[], before the last step: the loss; in a fit the weighted mean squared error,
        whatever its loss. NaN before the first step.
      key: the random key of the steps to come, where they are random; else None.
      params: the unknowns beside the sites, any pytree; None if there are none.
      params_optimizer: their optax state.
      rows: which leaves of ``optimizer`` have a row a site, see ``rows.py`` (static); None if
        unknown, and then the sites cannot be edited.
      best: of a fit, the sites to return if the last ones are worse; else None.
    """

    sites: Sites
    lists: Candidates
    optimizer: optax.OptState
    step: jax.Array
    value: jax.Array = dataclasses.field(default_factory=lambda: jax.device_put(np.float32(np.nan)))
    key: jax.Array | None = None
    params: Any = None
    params_optimizer: optax.OptState = None
    rows: tuple[Rows, ...] | None = static(default=None, repr=False)
    best: Best | None = None

    @property
    def alive(self) -> jax.Array:
        """bool[N], which slots hold a site of the picture."""
        return self.sites.alive

    @property
    def num_sites(self) -> Any:
        """Sites in the picture, an int; int[B] for a batch of states. It waits for the device."""
        count = np.sum(self.sites.known_alive, axis=-1)
        return count if count.ndim else int(count)

    def compact(self) -> Sites:
        """The sites of the picture without the free slots, as ``save`` wants them.

        Raises:
          ValueError: a batch of states, whose pictures may differ in their number of sites.
        """
        if np.ndim(self.sites.radius) != 1:
            raise ValueError(
                f"expected one state, got a batch of shape {np.shape(self.sites.radius)[:-1]}; "
                "take one by jax.tree.map(lambda leaf: leaf[i], state)"
            )
        return self.sites.compact()

    def on_mesh(self) -> State:
        """The state, all but its lists whole on every device of theirs, as steps leave it.

        Steps that find it so, too, are compiled once.
        """
        if self.lists.mesh is None:
            return self
        rest = whole(self.replace(lists=None), self.lists.mesh)
        return rest.replace(lists=self.lists)

    def image(self) -> jax.Array:
        """The picture as it stands, float[H, W, C]."""
        backend = resolve(None, (self.sites, self.lists), k=self.lists.k)
        return draw(backend, self.sites, self.lists)

    def explore(self, photo: Float[ArrayLike, "H W C"] | None = None) -> Page:
        """The page of ``sad_jax.viz.explore``, on which to look around in the diagram.

        Args:
          photo: to compare with.
        """
        from sad_jax import viz

        return viz.explore(self.compact(), self.lists.canvas, photo)

    def _repr_html_(self) -> str:
        """The picture as it stands, and its sites, as notebooks show them."""
        picture = html.thumbnail(as_rgb(self.image()))
        return html.beside(picture, f"step {int(self.step)}, {self.sites.table()}")


def check_state(state: State) -> None:
    """Raises a ValueError for anything but a State."""
    if not isinstance(state, State):
        raise ValueError(f"expected a State, got {describe(state)}")


@dataclasses.dataclass(frozen=True)
class Progress:
    """Where a fit or a minimisation stands, given to the caller's ``progress`` as it goes on.

    Attributes:
      step, steps: optimiser steps done, and in all; with a time budget, as it looks now.
      seconds: since the start, in a fit without compilation.
      state: the state itself; of a batch of fits, all states stacked.
    """

    step: int
    steps: int
    seconds: float
    state: State

    @property
    def value(self) -> Any:
        """``State.value``: a float, float[B] of a batch."""
        value = np.asarray(self.state.value)
        return value if value.ndim else float(value)

    @property
    def psnr(self) -> Any:
        """The value in dB, where it is a mean squared error as in a fit: a float, or float[B]."""
        psnr = np.asarray(mse_to_psnr(self.state.value))
        return psnr if psnr.ndim else float(psnr)

    @property
    def num_sites(self) -> Any:
        """Sites in the picture: an int, or int[B] of a batch."""
        return self.state.num_sites

    def image(self) -> np.ndarray:
        """The picture as it is now, float32[H, W, C]."""
        return np.asarray(self.state.image())
