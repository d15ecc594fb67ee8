"""From slots to sites: the sum of everything that the lists' slots have received for a site.

``scatter`` is XLA's: on a GPU one atomic addition for every slot and entry, in no fixed order.
``sorted_sums`` sums in a fixed order. XLA sorts the slots by site once (lists that do not change
between passes of one jitted step are sorted once there); then one program, a warp, takes one site:
lanes run along the site's slots, which lie in rows of neighbouring cells, and are added up last.

Bytes: slots [blocks, entries, K, block] are read once, 4 entries a slot, and with ``sorted_sums``
4 more for the order; 126 to 629 MB at 768x512, K = 8 (see ``fit_step.py``). The sort moves about
16 bytes a slot and pass of a radix sort, of which there are four or so: 0.2 GB.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl

from kernels_pallas.config import Launch

WARP = 32


def add_up(
    sums: jax.Array, ids: jax.Array, slots: jax.Array, deterministic: bool, launch: Launch
) -> jax.Array:
    """Adds slots [blocks, R, K, block] to the sites [R, N] of ids [blocks, K, block]."""
    if deterministic:
        return sums + sorted_sums(ids, slots, sums.shape[1], launch)
    flat = slots.swapaxes(0, 1).reshape(len(sums), -1)
    return sums.at[:, ids.reshape(-1)].add(flat, mode="promise_in_bounds")


def sorted_sums(ids: jax.Array, slots: jax.Array, num_sites: int, launch: Launch) -> jax.Array:
    """The sums float[entries, N] of the slots of each site, in the order of the slots."""
    _, entries, k, block = slots.shape
    order = jnp.argsort(ids.reshape(-1), stable=True).astype(jnp.int32)
    everyone = jnp.arange(num_sites + 1, dtype=jnp.int32)
    begin = jnp.searchsorted(ids.reshape(-1)[order], everyone).astype(jnp.int32)
    of_block = k * block

    def body(slots, order, begin, out):
        site = pl.program_id(0)
        first, last = begin[site], begin[site + 1]
        lane = jnp.arange(WARP)

        def add(chunk, totals):
            place = first + chunk * WARP + lane
            inside = place < last
            slot = order[jnp.where(inside, place, 0)]
            start = slot // of_block * (entries * of_block) + slot % of_block
            return tuple(
                total + jnp.where(inside, slots[start + entry * of_block], 0)
                for entry, total in enumerate(totals)
            )

        zero = (jnp.zeros(WARP, slots.dtype),) * entries
        totals = jax.lax.fori_loop(0, (last - first + WARP - 1) // WARP, add, zero)
        for entry, total in enumerate(totals):
            out[entry, site] = jnp.sum(total)

    anywhere = pl.BlockSpec(memory_space=pl.ANY)
    return launch.call(
        body,
        "sad_reduce",
        warps=1,
        grid=(num_sites,),
        in_specs=[anywhere] * 3,
        out_specs=anywhere,
        out_shape=jax.ShapeDtypeStruct((entries, num_sites), slots.dtype),
    )(slots.reshape(-1), order, begin)
