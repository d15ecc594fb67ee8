"""What several tests share."""

from pathlib import Path

import numpy as np
import pytest

from sad_jax.sites import Sites


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of the files that tests read."""
    return Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def make_sites():
    """Random sites, reproducible and in range: ``make_sites(n, channels=3, shape=(12, 16))``."""

    def make(n: int, channels: int = 3, shape: tuple[int, int] = (12, 16), seed: int = 0) -> Sites:
        rng = np.random.default_rng(seed)
        angle = rng.uniform(0, 2 * np.pi, n)
        fields = {
            "position": rng.uniform(0, [shape[1] - 1, shape[0] - 1], (n, 2)),
            "log_tau": rng.uniform(3, 8, n),
            "radius": rng.uniform(1, 6, n),
            "color": rng.uniform(0, 1, (n, channels)),
            "direction": np.stack([np.cos(angle), np.sin(angle)], -1),
            "log_aniso": rng.uniform(-2, 2, n),
        }
        return Sites(**{name: np.asarray(field, np.float32) for name, field in fields.items()})

    return make
