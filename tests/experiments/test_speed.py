"""What the programs of speed time can be called as the library is today."""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.speed.passes import Bench
from sad_jax.backend import Backend


def test_all_that_is_timed_can_be_lowered():
    photo = jnp.asarray(np.random.default_rng(0).uniform(size=(12, 16, 3)), jnp.float32)
    bench = Bench(photo, 20, Backend("xla_vjp"))
    passes = {name: function.lower(bench.sites) for name, function in bench.passes().items()}
    assert {"render", "gradient", "gradient and curvature", "change of the picture"} == set(passes)
    for function, count in bench.steps().values():
        assert count > 0
        jax.eval_shape(function)
