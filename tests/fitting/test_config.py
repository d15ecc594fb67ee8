"""Settings of a fit: hashable, through JSON and back, refused where they make no sense."""

import json

import pytest

import sad_jax as sad
from sad_jax.fitting.recipe import RECIPES
from sad_jax.optimize.adam import Rates
from sad_jax.optimize.gauss_newton import TrustRegion


@pytest.mark.parametrize(
    "config",
    [
        sad.FitConfig(),
        sad.FitConfig(num_sites=7, recipe="fast", steps=3, seconds=0.5, k=6, cell=2, loss="huber"),
        sad.FitConfig(bpp=1.5, implementation="xla"),
        sad.FitConfig.paper(num_sites=9, initial_sites=20),
        sad.FitConfig(recipe=sad.FastRecipe()),
        sad.FitConfig(
            num_sites=9,
            recipe=sad.FastRecipe(lists_every=2, trust_region=TrustRegion(color=0.3), blocks=False),
        ),
        sad.FitConfig(recipe=sad.PaperRecipe(growth=1.5, rates=Rates(color=0.02))),
    ],
)
def test_configs_are_hashable_and_survive_json(config):
    again = sad.FitConfig.from_json(config.to_json())
    assert again == config
    assert hash(again) == hash(config)
    assert isinstance(json.loads(config.to_json()), dict)
    with pytest.raises(AttributeError):
        config.steps = 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"recipe": "slow"}, "expected a recipe of FastRecipe, PaperRecipe or a name of"),
        (
            {"loss": "ssim"},
            "expected a loss of .*'ssim'; sad_jax.minimize takes any loss",
        ),
        ({"num_sites": 3, "bpp": 1.0}, "expected num_sites or bpp, got both"),
        ({"num_sites": 0}, "expected num_sites above 0, got 0"),
        ({"bpp": -1.0}, "expected bpp above 0"),
        ({"bpp": float("nan")}, "expected bpp above 0, got nan"),
        ({"steps": 0}, "expected steps above 0"),
        ({"seconds": -2}, "expected seconds above 0"),
        ({"initial_sites": 0}, "expected initial_sites above 0"),
        ({"num_sites": 2.5}, "expected num_sites to be a whole number up to 2147483647, got 2.5"),
        ({"steps": float("inf")}, "expected steps to be a whole number up to 2147483647, got inf"),
        ({"initial_sites": True}, "expected initial_sites to be a whole number"),
        ({"k": 33}, "expected K from 1 to 32, got 33"),
        ({"cell": 3}, "expected a cell of 1, 2 or 4"),
        ({"supersampling": 3}, "expected supersampling of 1, 2 or 4, got 3"),
        ({"implementation": "cuda"}, "expected implementation None or one of"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        sad.FitConfig(**options)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "3",
        '{"sites": 3}',
        '{"num_sites": 0}',
        '{"recipe": {"name": "slow"}}',
        '{"recipe": {"steps": 3}}',
        '{"recipe": {"name": "fast", "speed": 3}}',
        '{"recipe": {"name": "fast", "trust_region": {"speed": 3}}}',
    ],
)
def test_text_that_is_no_config_is_refused(text):
    with pytest.raises(ValueError, match="expected"):
        sad.FitConfig.from_json(text)


@pytest.mark.parametrize(
    ("options", "expected"), [({"num_sites": 9}, 9), ({"bpp": 16}, 24), ({"bpp": 0.1}, 1), ({}, 24)]
)
def test_the_budget_is_a_number_of_sites_or_a_nominal_rate(options, expected):
    assert sad.FitConfig(**options).budget((12, 16)) == expected


@pytest.mark.parametrize(("bpp", "expected"), [(1, 24), (0.01, 1), (float("inf"), 2**31 - 1)])
def test_a_rate_of_the_file_is_a_number_of_bytes(bpp, expected):
    assert sad.FitConfig(file_bpp=bpp).aim((12, 16)).most_bytes == expected


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_known_by_its_name(name):
    recipe = sad.FitConfig(recipe=name).constants
    assert recipe == RECIPES[name]()
    assert recipe.name == name
    assert sad.FitConfig(recipe=recipe).constants is recipe


@pytest.mark.parametrize("recipe", [kind() for kind in RECIPES.values()], ids=lambda r: r.name)
def test_every_constant_of_a_recipe_is_documented_with_its_name(recipe):
    listed = type(recipe).__doc__.partition("Attributes:")[2].partition("Examples:")[0]
    entries = [line.partition(":")[0] for line in listed.splitlines() if line[6:7].strip()]
    names = [name.strip() for entry in entries for name in entry.split(",")]
    assert set(vars(recipe)) <= set(names)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sad.FastRecipe(lists_every=0), "expected lists_every of at least 1, got 0"),
        (lambda: sad.FastRecipe(curvature_every=0), "expected curvature_every of at least 1"),
        (lambda: sad.FastRecipe(early_k=0), "expected early_k of at least 1, got 0"),
        (lambda: sad.FastRecipe(moves_every=10), "moves_every to be a multiple of lists_every, 3"),
        (lambda: sad.FastRecipe(soft_end=0.0), "expected soft_end above 0 and at most 1, got 0"),
        (lambda: sad.FastRecipe(steps=0), "expected steps of at least 1, got 0"),
        (lambda: sad.PaperRecipe(split_share=2.0), "expected split_share above 0 and at most 1"),
        (lambda: sad.PaperRecipe(prune_every=30), "prune_every to be a multiple of split_every"),
        (lambda: sad.PaperRecipe(exact_every=50), "exact_every to be a multiple of split_every"),
    ],
)
def test_constants_with_which_a_fit_would_not_go_on_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_time_budget_alone_leaves_the_number_of_steps_open():
    assert sad.FitConfig().most_steps == sad.FastRecipe().steps
    assert sad.FitConfig(seconds=5.0).most_steps > 10**9
    assert sad.FitConfig(seconds=5.0, steps=70).most_steps == 70
    assert sad.FitConfig.paper(seconds=5.0).most_steps == 4000


def test_supersampling_makes_the_canvas_larger_and_counts_the_pixels_of_the_photo():
    config = sad.FitConfig(supersampling=2, cell=4, file_bpp=2.0)
    assert config.canvas((6, 9)) == sad.Canvas((12, 18), cell=4)
    assert config.aim((20, 40)).most_bytes == 200
    assert sad.FitConfig(supersampling=4).budget((20, 40)) == 100
