"""What is made of a user's function is kept as long as the function, and no longer."""

import functools
import gc
import weakref

import jax
import jax.numpy as jnp
import pytest

import sad_jax as sad
from sad_jax.optimize import loop
from sad_jax.optimize.remember import Remembered


class Loss:
    """A loss with data, as a callable object and as a method."""

    def __init__(self, goal):
        self.goal = goal

    def __call__(self, image):
        return jnp.mean((image - self.goal) ** 2)

    def method(self, image):
        return self(image)


class Slotted:
    """A callable to which no weak reference can be made."""

    __slots__ = ()

    def __call__(self):
        return 7


def closure(goal):
    return lambda image: jnp.mean((image - goal) ** 2)


@pytest.mark.parametrize(
    "make", [closure, Loss, lambda goal: functools.partial(Loss.__call__, Loss(goal))]
)
def test_it_is_made_once_and_goes_with_the_function(make):
    remembered, made = Remembered(), []

    def count(function, option):
        made.append(option)
        return lambda image: (option, float(function(image)))

    loss = make(0.0)
    for _ in range(2):
        assert remembered.get((loss,), "a", make=count)(jnp.full(2, 3.0)) == ("a", 9.0)
    assert remembered.get((loss,), "b", make=count)(jnp.full(2, 2.0)) == ("b", 4.0)
    other = make(1.0)
    assert remembered.get((other,), "a", make=count)(jnp.full(2, 3.0)) == ("a", 4.0)
    assert made == ["a", "b", "a"]
    alive = weakref.ref(loss)
    del loss
    gc.collect()
    assert alive() is None
    assert len(remembered) == 1


def test_a_bound_method_stands_for_its_object():
    remembered, loss = Remembered(), Loss(0.0)
    make = lambda function: lambda image: float(function(image))  # noqa: E731
    first = remembered.get((loss.method,), make=make)
    assert remembered.get((loss.method,), make=make) is first
    assert first(jnp.full(2, 3.0)) == 9.0
    assert remembered.get((loss,), make=make) is not first


def test_what_cannot_be_referred_to_weakly_is_made_anew():
    remembered = Remembered()
    make = lambda function: function  # noqa: E731
    function = Slotted()
    assert remembered.get((function,), make=make)() == 7
    assert len(remembered) == 0


@pytest.mark.slow
def test_a_minimisation_keeps_no_data_alive(make_sites):
    """Neither the loss, nor its data, nor the user's drawing, nor the optimiser."""
    goal = jnp.full((6, 9, 3), 0.25)
    loss, optimizer = closure(goal), sad.adam(2.0)
    draw = lambda sites, lists: 1 - sad.render(sites, lists)  # noqa: E731
    before = len(loop._steps), len(loop._wanted_pictures)
    sad.minimize(loss, make_sites(4, shape=(6, 9)), (6, 9), steps=2, optimizer=optimizer, draw=draw)
    assert len(loop._steps) == before[0] + 1
    alive = [weakref.ref(thing) for thing in (loss, goal, draw, optimizer.update)]
    del loss, goal, draw, optimizer
    gc.collect()
    assert [reference() for reference in alive] == [None] * 4
    assert (len(loop._steps), len(loop._wanted_pictures)) == before


@pytest.mark.slow
def test_the_same_loss_compiles_nothing_the_second_time(make_sites, compiled):
    """With the default optimiser, too, and for a method of an object."""
    sites, loss = make_sites(4, shape=(6, 9)), Loss(0.25)

    def run(goal):
        loss.goal = goal  # read when the step is traced
        return sad.minimize(loss.method, sites, (6, 9), steps=13, num_sites=6)

    first = run(0.25)
    before = compiled.total()
    again = run(0.25)
    assert compiled.total() == before > 0
    for a, b in zip(jax.tree.leaves(first.sites), jax.tree.leaves(again.sites), strict=True):
        assert (a == b).all()
