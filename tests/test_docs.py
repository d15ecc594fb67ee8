"""The pages of the documentation: their Python runs, their commands parse, nothing is left out."""

import re
from pathlib import Path

import pytest

import sad_jax as sad
from sad_jax.commands.arguments import make_parser

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(p for p in DOCS.rglob("*.md") if "tutorials" not in p.parts)


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.S | re.M)


RUN = [page for page in PAGES if blocks(page, "python")]


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN, ids=lambda page: page.stem)
def test_the_blocks_of_a_page_run(page, monkeypatch, tmp_path):
    """One after the other, from the repository's root; what they claim they assert."""
    monkeypatch.chdir(ROOT)
    space: dict = {}
    for block in blocks(page, "python"):
        exec(block.replace("/tmp/", f"{tmp_path}/"), space)
    if page.stem == "own-loss":  # the motion blur is undone
        error = lambda image: float(((image - space["photo"]) ** 2).mean())  # noqa: E731
        assert error(space["image"]) < 0.5 * error(space["forward"](space["photo"]))
    if page.stem == "joint-unknowns":
        assert float(space["state"].value) < 1e-3


def test_the_commands_of_the_pages_are_commands():
    lines = [line for page in PAGES for block in blocks(page, "sh") for line in block.splitlines()]
    commands = [line.partition("sad-jax ")[2].split() for line in lines if "sad-jax " in line]
    assert len(commands) >= 5
    for command in commands:
        make_parser().parse_args(command)  # raises for what it does not take


def test_the_reference_holds_every_name():
    text = (DOCS / "api.md").read_text()
    named = set(re.findall(r"^::: sad_jax[\w.]*\.(\w+)$", text, re.M))
    assert named == set(sad.__all__)


def test_every_page_is_in_the_navigation():
    config = (ROOT / "mkdocs.yml").read_text()
    pages = {str(page.relative_to(DOCS)) for page in PAGES if page.parent.name != "paper"}
    assert set(re.findall(r": (\S+\.md)$", config, re.M)) == pages
    notebooks = {path.name for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert set(re.findall(r"tutorials/(\S+)$", config, re.M)) == notebooks
