"""What would not fit into memory is refused before the work, in one line with its size."""

import subprocess
import sys

import jax
import numpy as np
import pytest

import sad_jax as sad
from sad_jax.model import room
from sad_jax.model.canvas import Canvas
from sad_jax.model.room import check_fit_room, check_room, free_memory


@pytest.fixture
def gibibyte(monkeypatch):
    """One free GiB."""
    monkeypatch.setattr(room, "free_memory", lambda: 2**30)


def test_how_much_a_picture_takes_is_about_what_was_measured(gibibyte):
    """On a CPU, 3 channels: 173 bytes a pixel for lists of 8, 453 for 32 (experiments' machine)."""
    for k, measured in ((8, 173), (32, 453)):
        pixels = 2**30 // measured
        check_room(Canvas((1000, pixels * 9 // 10 // 1000), k=k), 3)
        with pytest.raises(ValueError, match=r"for which 1.0 GiB of free memory are enough"):
            check_room(Canvas((1000, pixels * 13 // 10 // 1000), k=k), 3)


def test_how_much_a_fit_takes_is_about_what_was_measured(gibibyte):
    """On a CPU, 3 channels, cells of 2: 64 bytes a pixel and 2,727 a site while it encodes; 86 a
    pixel in the steps."""
    for sites_of, measured in (
        (lambda n: n // 50, 64 + 2727 / 50),
        (lambda n: n, 64 + 2727),
        (lambda n: 9, 86),
    ):
        pixels = 2**30 / measured
        small, large = (int((pixels * part) ** 0.5) for part in (0.75, 1.3))
        check_fit_room(Canvas((small, small), cell=2), 3, sites_of(small * small))
        with pytest.raises(ValueError, match=r"fit for which 1.0 GiB of free memory are enough"):
            check_fit_room(Canvas((large, large), cell=2), 3, sites_of(large * large))


def test_sites_that_are_not_rounded_take_less(gibibyte):
    canvas = Canvas((1000, 1000), cell=2)
    check_fit_room(canvas, 3, 1_000_000, rounded=False)
    with pytest.raises(ValueError, match="1000x1000 pixels and 1000000 sites at the start"):
        check_fit_room(canvas, 3, 1_000_000)


def test_drawing_what_does_not_fit_is_refused(gibibyte, make_sites, reference):
    sites = make_sites(9)
    lists = reference.lists(sites, (12, 16))
    refused = {
        "65535x65536, which take 704.0 GiB": lambda: sad.render(sites, (65536, 65535)),
        "65535x65536, which take": lambda: sad.find_candidates(sites, (65536, 65535)),
        "99999x9999999, which take": lambda: sad.owners(sites, (9999999, 99999)),
        "70000x60000, which take 140.8 GiB": lambda: sad.resample(sites, lists, (60000, 70000)),
        "70000x60000": lambda: sad.resample(sites, (12, 16), (60000, 70000)),
    }
    for expected, draw in refused.items():
        with pytest.raises(ValueError, match=f"^expected a picture for .*got {expected}"):
            draw()


def test_a_fit_that_cannot_fit_is_refused_and_one_that_goes_on_is_not_asked(
    monkeypatch, make_sites, reference
):
    """What a fit holds itself counts as taken; lists that are at hand show that there is room."""
    monkeypatch.setattr(room, "free_memory", lambda: 1000)
    expected = r"expected a fit for .*, got 6x4 pixels and 4 sites at the start, which take .*fewer"
    with pytest.raises(ValueError, match=expected):
        sad.fit(np.zeros((4, 6, 3), np.float32), key=jax.random.key(0))
    sites = make_sites(9)
    lists = reference.lists(sites, (12, 16))
    sad.find_candidates(sites, (12, 16), near=lists)


def test_free_memory_is_that_of_the_machine_or_of_the_process():
    found = free_memory()
    assert found is None or 2**20 < found < 2**50
    if sys.platform == "linux":
        program = "from sad_jax.model.room import free_memory; print(free_memory())"
        command = f"ulimit -v 400000; exec {sys.executable} -c '{program}'"
        out = subprocess.run(["sh", "-c", command], capture_output=True, check=True).stdout
        assert 0 < int(out) < 400000 * 1024
