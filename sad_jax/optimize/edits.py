"""Edits of a state between steps, on the host: splits, removals, fewer slots, new lists.

Sites and optimiser state are edited together, in pure functions. Which sites to split and which to
remove is decided in ``density.py``.
"""

from __future__ import annotations

from functools import partial

import jax
import numpy as np

from sad_jax.backend import Backend
from sad_jax.lists.candidates import unknown_lists
from sad_jax.lists.exact import find_candidates
from sad_jax.model.sites import Sites, park
from sad_jax.optimize import density
from sad_jax.optimize.density import Statistics
from sad_jax.optimize.least_squares import Target
from sad_jax.optimize.rows import Rows, keep_rows, renew_rows
from sad_jax.optimize.state import State, check_state
from sad_jax.sharding import from_first, put_like

THIN_SHARE = 0.25  # of the sites, that one round of ``thin`` takes out at most


def edit(
    state: State,
    stats: Statistics,
    wanted: np.ndarray | jax.Array,
    *,
    prunes: int = 0,
    splits: int = 0,
) -> State:
    """Removes the cheapest sites, then splits the worst; the lists are left as they were.

    Args:
      state: a State.
      stats: of its sites.
      wanted: float[H, W, C], the picture that the sites should show; children take its colours.
      prunes: how many sites to remove.
      splits: how many to split, at most as many as there are free slots.

    Returns:
      The state; the optimiser's rows of the sites that were split, and of their children, are
      those with which it starts. See ``rows.py``, also for removed sites. Of several processes
      the first decides.
    """
    sites = jax.device_get(state.sites)
    alive = sites.known_alive
    gone = density.cheapest(stats, alive, prunes)
    alive[gone] = False
    free = np.flatnonzero(~alive)
    parents = density.worst(stats, alive, min(splits, len(free)))
    sites = park(sites, gone)
    sites, changed = density.split(sites, stats, wanted, parents, free[: len(parents)])
    sites, changed, gone = from_first((sites, changed, gone))
    optimizer = renew_rows(state.rows, state.optimizer, sites, new=changed, gone=gone)
    placed = put_like(sites, state.sites.position)
    return state.replace(sites=placed, optimizer=optimizer)


def change_sites(
    state: State,
    target: Target,
    image: np.ndarray | jax.Array,
    *,
    prunes: int = 0,
    splits: int = 0,
    moves: int = 0,
    worth: float = 1.0,
) -> State:
    """``edit`` by the statistics of a fit's target, whose picture is ``image`` float[H, W, C].

    ``moves`` are as many more removals and splits, or as many of them as pay, by ``worth``: see
    ``density.worth_moving``.
    """
    stats = density.statistics(state.sites, state.lists, target)
    if moves:
        moves = density.worth_moving(stats, state.sites.known_alive, prunes, moves, worth)
    return edit(state, stats, image, prunes=prunes + moves, splits=splits + moves)


def thin(state: State, target: Target, image: np.ndarray | jax.Array, goal: int) -> State:
    """Takes the cheapest sites out until ``goal`` are left, with exact lists after each round.

    A round takes at most a quarter: what a removal costs depends on the neighbours' staying.
    """
    while (count := state.num_sites) > goal:
        prunes = min(count - goal, max(1, int(count * THIN_SHARE)))
        state = change_sites(state, target, image, prunes=prunes)
        state = refresh(state, implementation=target.backend)
    return state


def keep_slots(state: State, slots: int) -> State:
    """The state with so many slots, of which free ones go first; sites keep their order.

    The lists are renumbered; -1 stands where a site is no more, so ``refresh`` must follow.
    """
    alive = state.sites.known_alive
    kept = np.sort(np.argsort(~alive, kind="stable")[:slots])
    place = np.full(len(alive), -1, np.int32)
    place[kept] = np.arange(len(kept))
    parts = state.sites, state.optimizer, state.lists.ids
    sites, optimizer, ids = _kept(state.rows, *parts, kept, place)
    lists = state.lists.replace(ids=ids, num_sites=len(kept), prepared=None)
    return state.replace(sites=sites, lists=lists, optimizer=optimizer)


@partial(jax.jit, static_argnums=0)
def _kept(
    rows: tuple[Rows, ...] | None, sites: Sites, optimizer, ids: jax.Array, kept, place
) -> tuple:
    """``keep_slots``, of a state's arrays: the ids of sites that stay, and the new ids of all."""
    optimizer = keep_rows(rows, optimizer, sites.num_sites, kept)
    return jax.tree.map(lambda leaf: leaf[kept], sites), optimizer, place[ids]


def refresh(state: State, *, implementation: str | Backend | None = None) -> State:
    """The state with the exact lists of its sites; every few steps, since sites move.

    Args:
      state: a State.
      implementation: as in ``find_candidates``.

    Returns:
      The same sites, with new lists.

    Examples:
      >>> import jax, sad_jax as sad
      >>> sites = sad.init_sites(jax.numpy.ones((6, 9, 3)), 5, key=jax.random.key(0))
      >>> state = sad.make_state(sites, (6, 9), sad.adam())
      >>> bool((sad.refresh(state).lists.ids == state.lists.ids).all())
      True
    """
    check_state(state)
    canvas, sites, near = state.lists.canvas, state.sites, state.lists
    if (near.num_sites, near.k) != (sites.num_sites, min(canvas.k, sites.num_sites)):
        near = unknown_lists(canvas, sites, near.mesh)  # they are of other sites
    return state.replace(
        lists=find_candidates(sites, canvas, implementation=implementation, near=near)
    )
