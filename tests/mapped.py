"""Functions over the devices of a mesh, with ``jax.shard_map``'s own checks.

``test_varying.py`` traces them all, and runs this file on four devices:

    python mapped.py
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

import sad_jax as sad

SHAPE = (6, 9)
DEVICES = 4
GOAL = np.random.default_rng(0).uniform(size=(*SHAPE, 3)).astype(np.float32)
KEYS = jax.random.split(jax.random.key(0), DEVICES)


def loss(image):
    return jnp.mean((image - GOAL) ** 2)


def of_render(sites, lists):
    return loss(sad.render(sites, lists))


def scanned(step):
    """Two steps, each on new lists, as a scan."""

    def body(state, _):
        return step(sad.refresh(state))

    return lambda state: jax.lax.scan(body, state, None, length=2)


def start(key):
    return sad.init_sites(GOAL, 12, key=key)


DESCENT, NEWTON = optax.sgd(0.1), sad.gauss_newton()  # Adam makes much of what is rounded


def arguments(keys) -> dict:
    """Of a picture for each key, stacked: sites, lists, states of descent and of Gauss-Newton."""

    def one(key):
        sites = start(key)
        state = sad.make_state(sites, SHAPE, DESCENT)
        newton = state.replace(optimizer=NEWTON.init(sites))
        return {"sites": sites, "lists": state.lists, "descent": state, "newton": newton}

    return jax.vmap(one)(keys) | {"key": keys}


# functions by name, each with the names of its arguments
FUNCTIONS = {
    "render": (sad.render, "sites lists"),
    "render by XLA": (lambda s, c: sad.render(s, c, implementation="xla"), "sites lists"),
    "gradient": (jax.grad(of_render), "sites lists"),
    "tangent": (lambda s, c: jax.jvp(lambda s: sad.render(s, c), (s,), (s,))[1], "sites lists"),
    "owners": (sad.owners, "sites lists"),
    "query": (lambda s, c: sad.query(s, c, jnp.asarray([[1.0, 2.5]])), "sites lists"),
    "resample": (lambda s, c: sad.resample(s, c, (4, 5)), "sites lists"),
    "find": (lambda s: sad.find_candidates(s, SHAPE), "sites"),
    "find near": (lambda s, c: sad.find_candidates(s, SHAPE, near=c), "sites lists"),
    "seed": (lambda s: sad.seed_candidates(s, SHAPE, key=jax.random.key(1)), "sites"),
    "propagate": (lambda s, c, key: sad.propagate(s, c, key=key), "sites lists key"),
    "flood": (lambda s, key: sad.flood_candidates(s, SHAPE, key=key, passes=1), "sites key"),
    "start": (start, "key"),
    "steps": (scanned(sad.make_step(loss, DESCENT)), "descent"),
    "Gauss-Newton": (sad.make_step(loss, NEWTON), "newton"),
}


def named(name: str, made: dict) -> tuple:
    """A function and what it takes of all the arguments."""
    function, names = FUNCTIONS[name]
    return function, tuple(made[name] for name in names.split())


def over(mesh, function):
    """The function, mapped over the devices."""
    spec = jax.P(*mesh.axis_names)
    return jax.jit(jax.shard_map(jax.vmap(function), mesh=mesh, in_specs=spec, out_specs=spec))


def main() -> None:
    mesh = jax.make_mesh((DEVICES,), ("d",), (jax.sharding.AxisType.Explicit,))
    made = jax.jit(arguments)(KEYS)
    for name in ("gradient", "tangent", "find", "propagate", "steps"):
        function, taken = named(name, made)
        expected = jax.jit(jax.vmap(function))(*taken)
        laid = jax.device_put(taken, jax.NamedSharding(mesh, jax.P("d")))
        found = over(mesh, function)(*laid)
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4, err_msg=name)


if __name__ == "__main__":
    main()
