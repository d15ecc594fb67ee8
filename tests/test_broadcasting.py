"""Users who let JAX refuse: arrays of unlike rank, transfers that nobody asked for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sad_jax as sad

SHAPE = (6, 9)
KEY = jax.random.key(0)
GOAL = np.random.default_rng(0).uniform(size=(*SHAPE, 3)).astype(np.float32)


def loss(image):
    return jnp.mean((image - GOAL) ** 2)


@pytest.fixture(scope="module")
def sites():
    return sad.init_sites(GOAL, 12, key=KEY)


def test_arrays_of_unlike_rank_meet_in_our_functions(sites):
    """Traced alone; the user's own functions are still refused."""
    state = sad.make_state(sites, SHAPE, sad.adam())
    newton = sad.make_state(sites, SHAPE, sad.gauss_newton())
    points = jnp.ones((2, 3, 2))

    def everything(state, newton):
        sites, lists = state.sites, state.lists
        draw = lambda sites: sad.render(sites, lists)  # noqa: E731
        return [
            jax.grad(lambda sites: loss(draw(sites)))(sites),
            jax.jvp(draw, (sites,), (sites,)),
            jax.hessian(lambda r: loss(draw(sites.replace(radius=r))))(sites.radius),
            sad.render(sites, lists, implementation="xla"),
            sad.render(sites, lists, implementation="pallas_interpret"),
            sad.query(sites, lists, points),
            sad.resample(sites, lists, (3, 4)),
            sad.owners(sites, lists),
            sad.propagate(sites, sad.seed_candidates(sites, SHAPE, key=KEY), key=KEY),
            sad.flood_candidates(sites, sad.Canvas(SHAPE, cell=2), key=KEY, passes=1),
            sad.resize(sites, SHAPE, (12, 18)),
            sad.init_sites(draw(sites), 3, key=KEY),
            sad.make_step(loss, sad.adam())(sad.refresh(state)),
            sad.make_step(loss, sad.gauss_newton())(newton),
        ]

    def careless(state):
        return sad.make_step(lambda image: jnp.sum(image + jnp.ones(3)), sad.adam())(state)

    with jax.numpy_rank_promotion("raise"):
        jax.eval_shape(everything, state, newton)
        with pytest.raises(ValueError, match="jax_numpy_rank_promotion"):
            jax.eval_shape(careless, state)


def test_nothing_is_moved_that_nobody_asked_for(sites, reference):
    """Beside what a host must do, which says so."""
    lists = reference.lists(sites, SHAPE)
    with jax.transfer_guard("disallow"):
        sad.init_sites(GOAL, 12, key=KEY)
        image = sad.render(sites, lists)
        sad.query(sites, lists, [[1.0, 2.5]])
        sad.owners(sites, lists)
        sad.resize(sites, SHAPE, (12, 18))
        sad.metrics.psnr(image, GOAL)
        sad.decode(sad.encode(sites, SHAPE))


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", [sad.adam(), sad.gauss_newton()], ids=["adam", "newton"])
def test_nothing_is_moved_by_lists_and_steps_either(sites, optimizer):
    step = sad.make_step(loss, optimizer)
    with jax.transfer_guard("disallow"), jax.numpy_rank_promotion("raise"):
        lists = sad.find_candidates(sites, SHAPE)
        sad.propagate(sites, sad.seed_candidates(sites, SHAPE, key=KEY), key=KEY)
        sad.flood_candidates(sites, SHAPE, key=KEY, passes=1)
        sad.resample(sites, lists, (3, 4))
        state, _ = step(sad.refresh(sad.make_state(sites, SHAPE, optimizer)))
        assert (state.num_sites, state.compact().num_sites) == (12, 12)


@pytest.mark.slow
def test_fits_and_edits_move_what_they_must(sites):
    picture = np.asarray(GOAL)
    with jax.transfer_guard("disallow"), jax.numpy_rank_promotion("raise"):
        state = sad.minimize(loss, sites, SHAPE, steps=3, num_sites=13)
        state = sad.densify(sad.prune(state, loss, 2), loss, 2)
        assert state.num_sites == 13
        for config in (sad.FitConfig(5, steps=6), sad.FitConfig.paper(5, steps=6)):
            assert sad.fit(picture, config, key=KEY).sites.num_sites == 5
        assert len(sad.fit_batch(picture[None], sad.FitConfig(5, steps=6), key=KEY)) == 1
