"""The rows of an optimiser's state that belong to the sites, and what they hold for a new site.

When sites are split and removed, what the optimiser remembers of them must follow. A new site's
rows are those with which the optimiser starts: zero or another number for moments, the site itself
where the state holds parameters (the ``z`` of schedule-free methods, the start from which Prodigy
measures). Which leaves have rows, along which axis, and what they start with is found by calling
``init``: for one site more, to see which axes grow, and for sites all of whose numbers differ.

Where sites lie along a later axis, [memory, N, ...], the leaf is a history of past steps. It makes
sense with all that stands beside it alone, so after an edit the whole of it starts anew.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from sad_jax.model.sites import Sites, unparked


@dataclasses.dataclass(frozen=True)
class Rows:
    """Of one leaf of an optimiser's state.

    Attributes:
      axis: along which the sites lie; None if the leaf has no rows of sites.
      start: what ``init`` fills it with: a number, or the field of the sites of that name; None if
        it is neither.
    """

    axis: int | None
    start: float | str | None


def find_rows(optimizer: optax.GradientTransformation, sites: Sites) -> tuple[Rows, ...]:
    """The ``Rows`` of every leaf of ``optimizer.init(sites)``."""
    n = sites.num_sites
    here, more = (jax.eval_shape(optimizer.init, _shapes(sites, count)) for count in (n, n + 1))
    probe = _with_distinct_numbers(sites)
    leaves = jax.tree.leaves(_started_with(optimizer, probe))
    return tuple(
        _rows_of(leaf, a.shape, b.shape, probe)
        for leaf, a, b in zip(leaves, jax.tree.leaves(here), jax.tree.leaves(more), strict=True)
    )


def _started_with(optimizer: optax.GradientTransformation, sites: Sites) -> Any:
    """``optimizer.init`` of sites in numpy, in numbers also within ``jit``."""
    with jax.transfer_guard("allow"):
        placed = jax.device_put(sites)
        if not isinstance(placed.radius, jax.core.Tracer):
            return jax.jit(optimizer.init)(placed)  # one program, where each field has several
        with jax.ensure_compile_time_eval():
            return optimizer.init(jax.device_put(sites))


def renew_rows(
    rows: tuple[Rows, ...] | None, optimizer_state, sites: Sites, new: np.ndarray, gone: np.ndarray
):
    """An optimiser's state after an edit of the sites.

    Args:
      rows: those of the state.
      optimizer_state: from before the edit.
      sites: from after it.
      new: ids of sites that are others now.
      gone: ids of sites that were removed. Their moments stay until the slot is taken; copies of
        the sites follow them.

    Returns:
      The state, on its device.
    """
    if not len(new) and not len(gone):
        return optimizer_state
    marks = _as_tree(rows, optimizer_state, sites.num_sites)
    for mark, leaf in zip(rows or (), jax.tree.leaves(optimizer_state), strict=True):
        if mark.axis is not None and mark.start is None:
            raise ValueError(
                "expected an optimizer whose state has a row for each site, a number or the site "
                f"itself at the start, got a leaf of shape {jnp.shape(leaf)} that is neither"
            )
    seen = unparked(sites)

    def renew(mark: Rows | tuple, part):
        if not isinstance(mark, Rows):
            return jax.tree.map(partial(_started, sites=seen), mark, part)
        return mixed.pop(0) if mark.axis is not None else part

    nodes, form = jax.tree.flatten(marks, is_leaf=_is_history)
    parts = form.flatten_up_to(optimizer_state)  # type: ignore[attr-defined]
    ours = [i for i, m in enumerate(nodes) if isinstance(m, Rows) and m.axis is not None]
    kinds = tuple(nodes[i] for i in ours)
    fields = {m.start: getattr(seen, m.start) for m in kinds if isinstance(m.start, str)}
    changed, moved = np.zeros((2, sites.num_sites), bool)
    changed[new], moved[new], moved[gone] = True, True, True
    mixed = _mix(kinds, [parts[i] for i in ours], *jax.device_put((changed, moved, fields)))
    return jax.tree.unflatten(form, map(renew, nodes, parts))


@partial(jax.jit, static_argnums=0)
def _mix(
    marks: tuple[Rows, ...], leaves: list, changed: jax.Array, moved: jax.Array, fields: dict
) -> list:
    """The leaves with some rows as ``init`` fills them.

    ``changed``: bool[N], where ``init`` fills them with a number; ``moved``: where with a field of
    the sites.
    """

    def mix(mark: Rows, leaf: jax.Array) -> jax.Array:
        named = isinstance(mark.start, str)
        start: Any = fields[mark.start] if named else mark.start
        beside = [1] * (leaf.ndim - (mark.axis or 0) - 1)
        return jnp.where((moved if named else changed).reshape(-1, *beside), start, leaf)

    return [mix(*pair) for pair in zip(marks, leaves, strict=True)]


def keep_rows(rows: tuple[Rows, ...] | None, optimizer_state, num_sites: int, ids: np.ndarray):
    """An optimiser's state of ``num_sites`` sites, of which the sites ``ids`` alone are kept."""

    def keep(mark: Rows, leaf):
        return leaf if mark.axis is None else leaf[_at(mark.axis, ids)]

    return jax.tree.map(keep, _as_tree(rows, optimizer_state, num_sites), optimizer_state)


def _rows_of(leaf, shape: tuple[int, ...], more: tuple[int, ...], probe: Sites) -> Rows:
    """What ``init`` makes of ``probe``, whose shape becomes ``more`` with one site more."""
    if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.extended):
        return Rows(None, None)  # a random key
    grows = [axis for axis, (a, b) in enumerate(zip(shape, more, strict=False)) if a != b]
    if len(shape) != len(more) or [shape[axis] for axis in grows] not in ([], [probe.num_sites]):
        return Rows(0, None)  # numbers of several sites in one row
    axis, values = (grows[0] if grows else None), np.asarray(jax.device_get(leaf))
    if values.size and np.all(values == values.flat[0]):
        return Rows(axis, values.flat[0].item())
    for name, field in vars(probe).items():
        beside = values.ndim - field.ndim
        same_shape = beside == axis and values.shape[beside:] == field.shape
        if same_shape and np.all(values == field.astype(values.dtype)):
            return Rows(axis, name)
    return Rows(axis, None)


def _started(mark: Rows, leaf, *, sites: Sites):
    """The leaf as ``init`` fills it."""
    if mark.start is None:
        return leaf
    start = np.asarray(getattr(sites, mark.start)) if isinstance(mark.start, str) else mark.start
    return np.broadcast_to(np.asarray(start, leaf.dtype), leaf.shape)


def _is_history(node) -> bool:
    """Whether a named tuple holds a leaf, or a tree like the sites, of past steps."""
    parts = node if isinstance(node, tuple) and hasattr(node, "_fields") else ()
    leaves = [leaf for part in parts if isinstance(part, Sites) for leaf in vars(part).values()]
    return any(isinstance(leaf, Rows) and (leaf.axis or 0) > 0 for leaf in [*parts, *leaves])


def _as_tree(rows: tuple[Rows, ...] | None, optimizer_state, num_sites: int) -> Any:
    """The rows in the form of the optimiser's state; ValueError unless they are of it."""
    leaves, form = jax.tree.flatten(optimizer_state)
    if rows is None:
        raise ValueError("expected a state of make_state, which knows the optimiser's rows")
    shapes = [jnp.shape(leaf) for leaf in leaves]
    if len(rows) != len(shapes) or not all(
        mark.axis is None or mark.start is None or shape[mark.axis : mark.axis + 1] == (num_sites,)
        for mark, shape in zip(rows, shapes, strict=True)
    ):
        raise ValueError("expected the optimiser state of make_state, got that of another one")
    return jax.tree.unflatten(form, rows)


def _at(axis: int, ids: np.ndarray) -> tuple:
    """Indexes the rows ``ids`` along an axis."""
    return (*[slice(None)] * axis, ids)


def _shapes(sites: Sites, count: int) -> Sites:
    """The shapes of as many sites."""
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((count, *leaf.shape[1:]), leaf.dtype), sites
    )


def _with_distinct_numbers(sites: Sites) -> Sites:
    """Sites of the same shape, in numpy, no two of whose numbers are equal."""
    leaves, form = jax.tree.flatten(sites)
    ends = np.cumsum([leaf.size for leaf in leaves])
    parts = np.split((np.arange(ends[-1]) + 1) / ends[-1], ends[:-1])
    pairs = zip(parts, leaves, strict=True)
    return jax.tree.unflatten(form, [p.reshape(a.shape).astype(a.dtype) for p, a in pairs])
