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


def arguments(keys):
    """Of a picture for each key, stacked: sites, lists, states of descent and of Gauss-Newton."""

    def one(key):
        sites = start(key)
        state = sad.make_state(sites, SHAPE, DESCENT)
        return sites, state.lists, state, state.replace(optimizer=NEWTON.init(sites))

    return jax.vmap(one)(keys)


def problem(evaluate):
    """Functions by name with their arguments; ``evaluate(arguments, keys)`` makes these."""
    keys = jax.random.split(jax.random.key(0), DEVICES)
    sites, lists, descent, newton = evaluate(arguments, keys)
    pairs = sites, lists
    return {
        "render": (sad.render, pairs),
        "render by XLA": (lambda s, c: sad.render(s, c, implementation="xla"), pairs),
        "gradient": (jax.grad(of_render), pairs),
        "tangent": (lambda s, c: jax.jvp(lambda s: sad.render(s, c), (s,), (s,))[1], pairs),
        "owners": (sad.owners, pairs),
        "query": (lambda s, c: sad.query(s, c, jnp.asarray([[1.0, 2.5]])), pairs),
        "resample": (lambda s, c: sad.resample(s, c, (4, 5)), pairs),
        "find": (lambda s: sad.find_candidates(s, SHAPE), (sites,)),
        "find near": (lambda s, c: sad.find_candidates(s, SHAPE, near=c), pairs),
        "seed": (lambda s: sad.seed_candidates(s, SHAPE, key=jax.random.key(1)), (sites,)),
        "propagate": (lambda s, c, key: sad.propagate(s, c, key=key), (*pairs, keys)),
        "flood": (lambda s, key: sad.flood_candidates(s, SHAPE, key=key, passes=1), (sites, keys)),
        "start": (start, (keys,)),
        "steps": (scanned(sad.make_step(loss, DESCENT)), (descent,)),
        "Gauss-Newton": (sad.make_step(loss, NEWTON), (newton,)),
    }


def over(mesh, function):
    """The function, mapped over the devices."""
    spec = jax.P(*mesh.axis_names)
    return jax.jit(jax.shard_map(jax.vmap(function), mesh=mesh, in_specs=spec, out_specs=spec))


def main() -> None:
    mesh = jax.make_mesh((DEVICES,), ("d",), (jax.sharding.AxisType.Explicit,))
    functions = problem(lambda make, keys: jax.jit(make)(keys))
    for name in ("gradient", "tangent", "find", "propagate", "steps"):
        function, arguments = functions[name]
        expected = jax.jit(jax.vmap(function))(*arguments)
        laid = jax.device_put(arguments, jax.NamedSharding(mesh, jax.P("d")))
        found = over(mesh, function)(*laid)
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4, err_msg=name)


if __name__ == "__main__":
    main()
