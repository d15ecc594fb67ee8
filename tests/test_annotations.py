"""The shapes that public signatures promise are those that go in and come out."""

import inspect

import beartype
import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

import sad_jax as sad
from sad_jax import metrics, priors, sharding, tuning, viz
from sad_jax.storage.pictures import check_image

FUNCTIONS = {
    name: function
    for name in sad.__all__
    if inspect.isfunction(inspect.unwrap(function := getattr(sad, name)))
} | {
    f"{module.__name__.partition('.')[2]}.{name}": function
    for module in (metrics, priors, sharding, tuning, viz)
    for name, function in vars(module).items()
    if inspect.isfunction(function)
    and function.__module__ == module.__name__
    and not name.startswith("_")
}


def checked(function):
    """The function, which then raises where arguments or results have other shapes or types."""
    return jaxtyping.jaxtyped(typechecker=beartype.beartype)(function)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_argument_and_result_is_annotated(name):
    signature = inspect.signature(FUNCTIONS[name])
    bare = [
        parameter.name
        for parameter in signature.parameters.values()
        if parameter.annotation is parameter.empty and parameter.name != "data"  # the user's own
    ]
    assert not bare
    assert signature.return_annotation is not signature.empty


@pytest.mark.parametrize(
    ("shape", "n", "channels", "cell"),
    [((1, 1), 1, 1, 1), ((6, 9), 5, 3, 2), ((6, 9), 12, 4, 1), ((5, 4), 9, 7, 4)],
)
def test_pictures_have_the_shapes_that_are_annotated(shape, n, channels, cell):
    key = jax.random.key(0)
    image = np.random.default_rng(0).uniform(size=(*shape, channels)).astype(np.float32)
    canvas = sad.Canvas(shape, k=4, cell=cell)

    def everything(image):
        sites = jax.tree.map(jnp.asarray, start)
        exact = checked(sad.find_candidates)(sites, canvas)
        seeded = checked(sad.seed_candidates)(sites, canvas, key=key)
        checked(sad.flood_candidates)(sites, canvas, key=key, passes=1)
        checked(sad.propagate)(sites, seeded, key=key)
        checked(sad.resize)(sites, canvas, (3, 5))
        checked(sad.query)(sites, exact, jnp.zeros((2, 3, 2)))
        checked(sad.resample)(sites, exact, (3, 5))
        checked(sad.owners)(sites, exact)
        return checked(sad.render)(sites, exact)

    start = checked(sad.init_sites)(image, n, key=key)
    assert jax.eval_shape(everything, image).shape == (*shape, channels)
    data = checked(sad.encode)(start, canvas)
    assert checked(sad.decode)(data)[1] == canvas
    assert checked(check_image)(image[..., 0]).shape == (*shape, 1)
    checked(metrics.psnr)(image, image)
    checked(metrics.mse_to_psnr)(jnp.ones(3))
    checked(viz.error_map)(image, image)
    checked(viz.displayed)(image)
    checked(viz.viridis)(image)


@pytest.mark.parametrize(
    ("call", "what"),
    [
        (lambda: checked(sad.query)(*SITES, jnp.zeros((5, 3))), "points"),
        (lambda: checked(sad.query)(*SITES, jnp.zeros(2, int)), "points"),
        (lambda: checked(sad.init_sites)(np.zeros(5), 3, key=jax.random.key(0)), "image"),
        (lambda: checked(sad.init_sites)(np.zeros((4, 5, 3)), 3, key=jnp.zeros(2)), "key"),
        (lambda: checked(metrics.psnr)(np.zeros((4, 5, 3)), np.zeros((4, 5, 1))), "b"),
    ],
)
def test_the_check_finds_what_does_not_fit(call, what):
    with pytest.raises(jaxtyping.TypeCheckError, match=f"parameter|argument.*{what}"):
        call()


SITES = (sad.Sites(*(np.zeros(s, np.float32) for s in ((4, 2), 4, 4, (4, 3), (4, 2), 4))), (3, 3))


def test_fields_of_sites_have_their_shapes():
    """The annotations of a fit's sites, field by field."""
    sites = sad.init_sites(np.ones((4, 5, 3), np.float32), 7, key=jax.random.key(0))
    namespace = {name: getattr(jaxtyping, name) for name in ("Array", "Float")}
    with jaxtyping.jaxtyped("context"):
        for name, annotation in sad.Sites.__annotations__.items():
            assert isinstance(getattr(sites, name), eval(annotation, namespace)), name
    other = sites.replace(log_tau=sites.log_tau[:-1])
    with jaxtyping.jaxtyped("context"):
        fits = [
            isinstance(getattr(other, name), eval(annotation, namespace))
            for name, annotation in sad.Sites.__annotations__.items()
        ]
    assert fits == [name != "log_tau" for name in sad.Sites.__annotations__]
