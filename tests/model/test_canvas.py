"""Canvas: honest equality, K and cell that nothing loses, grids of cells."""

import dataclasses
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sad_jax as sad

DIFFERENT = [
    sad.Canvas((8, 9)),
    sad.Canvas((9, 8)),
    sad.Canvas((8, 9), k=4),
    sad.Canvas((8, 9), cell=2),
    sad.Canvas((8, 9), k=4, cell=2),
]


def test_canvases_are_equal_if_size_k_and_cell_are():
    assert len({*DIFFERENT, *map(dataclasses.replace, DIFFERENT)}) == len(DIFFERENT)
    assert sad.Canvas([np.int64(8), 9], k=np.int32(8)) == DIFFERENT[0]
    for canvas in DIFFERENT:
        assert pickle.loads(pickle.dumps(canvas)) == canvas
    assert DIFFERENT[0] != (8, 9)
    with pytest.raises(dataclasses.FrozenInstanceError):
        DIFFERENT[0].k = 3


def test_a_static_canvas_compiles_a_program_of_its_own():
    numbers = jax.jit(
        lambda canvas: jnp.asarray([*canvas.shape, canvas.k, canvas.cell]), static_argnums=0
    )
    for canvas in DIFFERENT:
        assert numbers(canvas).tolist() == [*canvas.shape, canvas.k, canvas.cell]


def test_a_canvas_cannot_be_taken_for_its_size():
    """What would lose K and cell without a word is a TypeError."""
    with pytest.raises(TypeError):
        _, _ = DIFFERENT[4]
    with pytest.raises(TypeError):
        tuple(DIFFERENT[4])
    with pytest.raises(TypeError):
        np.zeros(DIFFERENT[4])


@pytest.mark.parametrize("canvas", DIFFERENT)
def test_every_way_keeps_k_and_cell(make_sites, tmp_path, canvas):
    sites = make_sites(20, shape=canvas.shape)
    key = jax.random.key(0)

    def ways(sites):
        lists = sad.find_candidates(sites, canvas)
        seeded = sad.seed_candidates(sites, canvas, key=key)
        state = sad.State(sites, lists, None, jnp.int32(0))
        kept = sad.propagate(sites, seeded, key=key), sad.refresh(state).lists
        return [lists, seeded, *kept, sad.flood_candidates(sites, canvas, key=key, passes=1)]

    for lists in jax.eval_shape(ways, sites):
        assert lists.canvas == canvas
        assert lists.ids.shape == (canvas.grid.rows, canvas.grid.columns, canvas.k)
    assert sad.decode(sad.encode(sites, canvas))[1] == canvas
    sad.save(tmp_path / "a.sad", sites, canvas)
    assert sad.load(tmp_path / "a.sad")[1] == canvas


def test_k_stays_what_was_asked_for_with_fewer_sites(make_sites):
    """Lists are shorter, but the canvas keeps its K: more sites later fill the lists again."""
    find = lambda sites: sad.find_candidates(sites, sad.Canvas((12, 16), k=5))  # noqa: E731
    lists = jax.eval_shape(find, make_sites(3))
    assert (lists.k, lists.canvas.k, lists.num_sites) == (3, 5, 3)


def test_of_replaces_what_is_given():
    canvas = sad.Canvas((8, 9), k=4, cell=2)
    assert sad.Canvas.of(canvas) == canvas
    assert sad.Canvas.of((8, 9)) == sad.Canvas((8, 9))
    assert sad.Canvas.of(canvas, k=7) == sad.Canvas((8, 9), k=7, cell=2)
    assert sad.Canvas.of((8, 9), cell=4) == sad.Canvas((8, 9), cell=4)


def test_sizes():
    canvas = sad.Canvas((8, 9), cell=4)
    assert (canvas.height, canvas.width, canvas.pixels, canvas.size) == (8, 9, 72, 9)
    assert (canvas.grid.rows, canvas.grid.columns) == (2, 3)


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((0, 4), {}, "at least one pixel"),
        ((4,), {}, "at least one pixel"),
        ((4, 4, 3), {}, "at least one pixel"),
        ((4, 4), {"k": 0}, "K from 1 to 32, got 0"),
        ((4, 4), {"k": 33}, "K from 1 to 32, got 33"),
        ((4, 4), {"cell": 3}, "1, 2 or 4 pixels a side, got 3"),
    ],
)
def test_canvases_that_cannot_be_are_refused(shape, options, message):
    with pytest.raises(ValueError, match=message):
        sad.Canvas(shape, **options)


@pytest.mark.parametrize("shape", [(1, 1), (7, 10), (1, 5), (9, 4)])
@pytest.mark.parametrize("cell", [1, 2, 4])
def test_a_picture_survives_its_layout_in_blocks(shape, cell):
    image = jnp.asarray(np.random.default_rng(0).uniform(size=(*shape, 3)), jnp.float32)
    grid = sad.Canvas(shape, cell=cell).grid
    blocks = jax.jit(grid.split_image)(image)
    assert blocks.shape == (grid.blocks, cell * cell, 3, grid.block)
    np.testing.assert_array_equal(jax.jit(grid.join_image)(blocks), image)
