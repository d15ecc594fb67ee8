"""Checkpoints come back bit for bit, or are refused with what is wrong."""

import errno
import warnings

import flax.serialization
import jax
import numpy as np
import pytest

import sad_jax as sad
from experiments.formats.fuzz import CHECKPOINT, fuzz, repair, states_of
from sad_jax.fitting import checkpoint
from sad_jax.fitting.checkpoint import (
    Checkpoint,
    format_checkpoint,
    identity_of,
    load_checkpoint,
    parse_checkpoint,
    save_checkpoint,
)
from sad_jax.fitting.photo import Photo

PHOTO = np.random.default_rng(1).uniform(size=(4, 6, 3)).astype(np.float32)
CONFIG = sad.FitConfig(num_sites=3)
KEY = jax.random.key(0)
HISTORY = {"step": [2, 5], "psnr": [20.5, float("inf")], "sites": [5, 5], "seconds": [0.5, 1.5]}
SIZE = CHECKPOINT.size


@pytest.fixture(scope="module", params=["fast", "paper"])
def state(request, make_sites):
    _, state = states_of(make_sites(5))[request.param]
    return state


@pytest.fixture(scope="module")
def identity() -> dict[str, str]:
    return identity_of(Photo(PHOTO), CONFIG, KEY)


def assert_same(found, expected) -> None:
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        if jax.dtypes.issubdtype(b.dtype, jax.dtypes.prng_key):
            assert a.dtype == b.dtype
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("implementation", ["threefry2x32", "rbg"])
def test_everything_comes_back(tmp_path, state, identity, implementation):
    state = state.replace(key=jax.random.key(7, impl=implementation))
    save_checkpoint(tmp_path / "c", identity, state, HISTORY, 1.5)
    found, history, seconds = load_checkpoint(tmp_path / "c", identity, state)
    assert_same(found, state)
    assert (history, seconds) == (HISTORY, 1.5)


def test_fewer_slots_than_at_the_start_are_the_same_fit(state, identity):
    """A fit gives free slots up when it has reached its budget."""
    n = state.sites.num_sites
    fewer = lambda tree: jax.tree.map(lambda a: a[:3] if a.shape[:1] == (n,) else a, tree)  # noqa: E731
    lists = state.lists.replace(ids=state.lists.ids[..., :3] % 3, num_sites=3)
    less = state.replace(sites=fewer(state.sites), optimizer=fewer(state.optimizer), lists=lists)
    found, *_ = parse_checkpoint(format_checkpoint(identity, less, HISTORY, 1.5), identity, state)
    assert_same(found, less)


OTHERS = {
    "picture": {"photo": Photo(1 - PHOTO)},
    "picture ": {"photo": Photo(PHOTO.reshape(6, 4, 3))},
    "mask": {"photo": Photo(PHOTO, np.ones((4, 6), np.float32))},
    "other num_sites, recipe": {"config": sad.FitConfig.paper(num_sites=4)},
    "other recipe": {"config": sad.FitConfig(num_sites=3, recipe=sad.FastRecipe(late=0.9))},
    "seed": {"key": jax.random.key(1)},
    "seed ": {"key": jax.random.key(0, impl="rbg")},
}


@pytest.mark.parametrize("name", OTHERS)
def test_another_fit_is_told_by_what_is_other(tmp_path, state, name):
    this = {"photo": Photo(PHOTO), "config": CONFIG, "key": KEY}
    save_checkpoint(tmp_path / "c", identity_of(**this), state, HISTORY, 1.5)
    other = name.strip().removeprefix("other ")
    with pytest.raises(ValueError, match=f"(other|another) {other}: "):
        load_checkpoint(tmp_path / "c", identity_of(**this | OTHERS[name]), state)


def test_another_version_is_refused_and_another_time_budget_is_not(state, identity, monkeypatch):
    data = format_checkpoint(identity, state, HISTORY, 1.5)
    budget = identity_of(Photo(PHOTO), sad.FitConfig(num_sites=3, seconds=9.0), KEY)
    parse_checkpoint(data, budget, state)
    monkeypatch.setattr(checkpoint, "__version__", "9.0")
    later = identity_of(Photo(PHOTO), CONFIG, KEY)
    expected = "expected a checkpoint of sad-jax 9.0, got one of 'sad-jax 0.1.0'"
    with pytest.raises(ValueError, match=expected):
        parse_checkpoint(data, later, state)


DAMAGED = {
    "first bytes b''": lambda data: b"",
    "first bytes b'PK": lambda data: b"PK\3\4" + data[4:],
    "first bytes": lambda data: data[: SIZE - 1],
    "format 2, got 3": lambda data: data[:8] + b"\3" + data[9:],
    "damaged checkpoint": lambda data: data[:-1],
    "damaged checkpoint ": lambda data: data + b"\0",
    "damaged checkpoint  ": lambda data: data[:99] + bytes([data[99] ^ 1]) + data[100:],
    "whole checkpoint": lambda data: repair(data[: len(data) // 2], "checkpoint"),
    "four parts": lambda data: forged(data, lambda tree: [tree]),
    "of which fit": lambda data: forged(data, lambda tree: tree | {"fit": 3}),
    "a checkpoint's seconds, got nan": lambda data: forged(
        data, lambda tree: tree | {"seconds": float("nan")}
    ),
    "1 to [58] sites, got 0": lambda data: altered(data, "sites", "radius", lambda a: a[:0]),
    "color to be float32 of shape": lambda data: altered(data, "sites", "color", lambda a: a[:2]),
    "color to be float32 of shape ": lambda data: altered(
        data, "sites", "color", lambda a: a.astype(np.float64)
    ),
    "got none": lambda data: altered(data, "sites", "color", lambda a: "text"),
    "finite": lambda data: altered(data, "sites", "log_tau", lambda a: a * np.float32("nan")),
    "ids and counts": lambda data: altered(data, "lists", "ids", lambda a: a + np.int32(4)),
    "ids and counts ": lambda data: altered(data, "lists", "ids", lambda a: a - np.int32(2)),
    "state's fields": lambda data: altered(data, "sites", "more", lambda _: 1),
    "history, got another form": lambda data: forged(data, lambda tree: tree | {"history": {}}),
    "history of numbers": lambda data: recorded(data, psnr=[1.0, "text"]),
    "history of numbers ": lambda data: recorded(data, step=[1.0, 5.0]),
    "history up to step 5": lambda data: recorded(data, step=[5, 6]),
    "history up to step 5 ": lambda data: recorded(data, step=[5]),
}


def forged(data: bytes, change) -> bytes:
    """The file with another tree, and a checksum that fits."""
    tree = change(flax.serialization.msgpack_restore(data[SIZE:]))
    return repair(data[:SIZE] + flax.serialization.msgpack_serialize(tree), "checkpoint")


def altered(data: bytes, part: str, name: str, change) -> bytes:
    def change_tree(tree):
        branch = tree["state"][part]
        branch[name] = change(branch.get(name))
        return tree

    return forged(data, change_tree)


def recorded(data: bytes, **columns) -> bytes:
    return forged(data, lambda tree: tree | {"history": tree["history"] | columns})


@pytest.mark.parametrize("expected", DAMAGED)
def test_damaged_ones_are_refused_in_one_line(tmp_path, state, identity, expected):
    path = tmp_path / "c"
    path.write_bytes(DAMAGED[expected](format_checkpoint(identity, state, HISTORY, 1.5)) or b"x")
    with pytest.raises(ValueError, match=expected.strip().replace("b''", "b'x'")) as error:
        load_checkpoint(path, identity, state)
    assert str(error.value).startswith("expected ")
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_no_bit_can_flip_unseen(state, identity):
    data = format_checkpoint(identity, state, HISTORY, 1.5)
    for at in np.random.default_rng(0).integers(0, 8 * len(data), 500):
        changed = bytearray(data)
        changed[at // 8] ^= 1 << at % 8
        with pytest.raises(ValueError, match="expected"):
            parse_checkpoint(bytes(changed), identity, state)


@pytest.mark.slow
def test_altered_files_of_sites_and_checkpoints_are_refused_or_read_as_finite_values():
    """A few of those that ``python -m experiments.formats.fuzz`` makes by the million."""
    figures = fuzz(2000, seed=3)
    assert not figures["wrong"]
    assert all(each["read"] and each["refused"] for each in figures["counts"].values())


@pytest.mark.parametrize(
    "reason", [OSError(errno.ENOSPC, "No space left on device"), ValueError("got a read-only one")]
)
def test_a_write_that_fails_warns_once_and_leaves_the_last_one(
    tmp_path, state, identity, monkeypatch, reason
):
    path = tmp_path / "c"
    keeper = Checkpoint(path, identity, 0.0)
    keeper.save_if_due(state, HISTORY, 1.5)
    before = path.read_bytes()

    def fail(*_):
        raise reason

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write_bytes", fail)
        with pytest.warns(UserWarning, match=r"expected to write a checkpoint, got .*(space|read)"):
            keeper.save(state, HISTORY, 2.5)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            keeper.save(state, HISTORY, 3.5)
    assert path.read_bytes() == before
    keeper.save(state, HISTORY, 4.5)
    assert keeper.load(state)[2] == 4.5


def test_it_is_written_no_oftener_than_asked(tmp_path, state, identity):
    keeper = Checkpoint(tmp_path / "c", identity, 1000.0)
    keeper.save_if_due(state, HISTORY, 1.5)
    assert keeper.load(state) is None
    Checkpoint(None, identity, 0.0).save(state, HISTORY, 1.5)


def test_a_place_where_it_cannot_be_is_refused_before_the_fit(tmp_path, identity):
    with pytest.raises(ValueError, match="no such folder"):
        Checkpoint(tmp_path / "none" / "c", identity, 30.0)
    with pytest.raises(ValueError, match="directory"):
        sad.fit(PHOTO, CONFIG, key=KEY, checkpoint=tmp_path)
