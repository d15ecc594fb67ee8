"""With float64 turned on, by the user or by another library in the process."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sad_jax as sad

SHAPE = (6, 9)
KEY = jax.random.key(0)


def floats(tree) -> set[str]:
    kinds = {str(leaf.dtype) for leaf in jax.tree.leaves(tree)}
    return {kind for kind in kinds if kind.startswith("float")}


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("dtype", [pytest.param("float32", marks=pytest.mark.slow), "float64"])
def test_every_function_keeps_the_precision_of_the_picture(dtype):
    """Traced alone."""
    image = jnp.asarray(np.random.default_rng(0).uniform(size=(*SHAPE, 3)), dtype)
    loss = lambda picture: jnp.mean((picture - image) ** 2)  # noqa: E731

    def everything(image):
        sites = sad.init_sites(image, 12, key=KEY)
        lists = sad.find_candidates(sites, SHAPE)
        draw = lambda sites: sad.render(sites, lists)  # noqa: E731
        again = sad.propagate(sites, sad.seed_candidates(sites, SHAPE, key=KEY), key=KEY)
        return [
            sites,
            draw(sites),
            jax.grad(lambda sites: loss(draw(sites)))(sites),
            jax.jvp(draw, (sites,), (sites,)),
            sad.query(sites, lists, jnp.ones((2, 2), dtype)),
            sad.resample(sites, lists, (3, 4)),
            sad.resize(sites, SHAPE, (12, 18)),
            sad.render(sites, again),
            sad.render(sites, sad.flood_candidates(sites, SHAPE, key=KEY, passes=1)),
            sad.owners(sites, lists),
        ]

    assert floats(jax.eval_shape(everything, image)) == {dtype}
    for optimizer in (sad.adam(), sad.gauss_newton()):
        step = sad.make_step(loss, optimizer)
        sites = sad.init_sites(image, 12, key=KEY)
        start = lambda sites: sad.make_state(sites, SHAPE, optimizer, capacity=14)  # noqa: B023, E731
        state, value = jax.eval_shape(lambda s: step(sad.refresh(start(s))), sites)  # noqa: B023
        assert floats((state, value)) == {dtype}


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_a_minimisation_and_a_fit_run():
    image = np.random.default_rng(0).uniform(size=(*SHAPE, 3))
    sites = sad.init_sites(image, 8, key=KEY)
    loss = lambda picture: jnp.mean((picture - image) ** 2)  # noqa: E731
    heard = []
    hear = lambda now: heard.append(now.value)  # noqa: E731
    state = sad.minimize(loss, sites, SHAPE, steps=13, num_sites=10, progress=hear)
    assert floats(state) == {"float64"}
    assert loss(sad.render(state.sites, state.lists)) < heard[0]  # that of the start
    result = sad.fit(image, sad.FitConfig(num_sites=8, steps=5), key=KEY)
    assert floats(result.sites) == {"float32"}
    assert result.psnr > 8


@pytest.mark.usefixtures("x64")
def test_sites_of_two_precisions_are_refused(make_sites):
    sites = make_sites(4)
    mixed = sites.replace(log_aniso=np.zeros(4))
    with pytest.raises(
        ValueError, match="expected sites in float32, or all in float64, got float32, float64"
    ):
        sad.render(mixed, (3, 3))
