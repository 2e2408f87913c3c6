"""The documentation site: it builds without a warning, holds together, and needs no network."""

from __future__ import annotations

import argparse
import dataclasses
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dualnet import errors
from dualnet.cli import _parser
from dualnet.config.schema import Config
from tests.pages.site import Page, Site

ROOT = Path(__file__).resolve().parent.parent.parent
TUTORIAL = ["first_run", "own_net", "two_nodes", "curves"]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site that DUALNET_SITE names, else one built here."""
    given = os.environ.get("DUALNET_SITE")
    if given:
        return Site(Path(given))
    pytest.importorskip("sphinx", reason="Sphinx is not installed: requirements/docs.txt")
    pytest.importorskip("furo", reason="the theme is not installed: requirements/docs.txt")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [str(ROOT / "scripts/build_docs.sh"), str(folder)],
        env={**os.environ, "DUALNET_PYTHON": sys.executable},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return Site(folder)


def test_every_link_leads_to_a_page_and_its_heading(site):
    assert len(site.pages) > 20
    assert site.broken_links() == []


def test_no_page_loads_anything_from_elsewhere(site):
    assert site.foreign() == []


def test_every_page_is_in_the_menu(site):
    """Whoever begins at the first page can reach all others by links."""
    reached, todo = set(), ["docs/index.html"]
    while todo:
        name = todo.pop()
        if name in reached or name not in site.pages:
            continue
        reached.add(name)
        todo += [site.target(name, address)[0] for address in site.pages[name].links]
    assert set(site.pages) - reached == {"index.html", "search.html"}


def commands(parser):
    """Every command of a parser, with those below it."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield command
                yield from commands(command)


def test_every_command_and_option_is_on_the_page_of_commands(site):
    page = site.pages["docs/reference/commands.html"]
    found = list(commands(_parser()))
    assert len(found) > 20
    for command in found:
        assert command.prog.replace(" ", "-") in page.anchors
        for action in command._actions:
            if action.help == argparse.SUPPRESS:
                continue
            for option in action.option_strings:
                place = f"cmdoption-{command.prog}-{option.lstrip('-')}".replace(" ", "-")
                assert option in ("-h", "--help") or place in page.anchors, place


def test_every_key_is_on_the_page_of_the_configuration(site):
    page = site.pages["docs/reference/configuration.html"]
    keys = {anchor for anchor in page.anchors if anchor.startswith("confval-")}
    for entry in dataclasses.fields(Config):
        made = getattr(Config(), entry.name)
        made = made[0] if isinstance(made, tuple) else made
        prefix = {"single": "PIECE.", "pieces": "PIECE.", "cuts": "CUT."}
        names = [entry.name]
        if dataclasses.is_dataclass(made):
            section = prefix.get(entry.name, f"{entry.name}.")
            names = [f"{section}{one.name}" for one in dataclasses.fields(made)]
        assert {f"confval-{name}" for name in names} <= keys


def test_every_exception_is_on_the_page_of_exit_codes(site):
    page = site.pages["docs/reference/exit_codes.html"]
    for name in set(errors.__all__) - {"DualnetError"}:
        assert f"{getattr(errors, name).exit_code} {name} " in page.text


def test_the_tutorial_leads_from_step_to_step(site):
    name = "docs/index.html"
    for step in TUTORIAL:
        name = following(site.pages[name], name, f"{step}.html")
        assert name == f"docs/tutorial/{step}.html"
        assert name in site.pages


def following(page, name, ending):
    """The address of the first link on a page to a file of this name."""
    address = next(link for link in page.links if link.endswith(ending))
    return (Path(name).parent / address).as_posix().replace("tutorial/../tutorial", "tutorial")


def test_formulas_are_mathml(site):
    text = (site.folder / "docs/explanation/coupling.html").read_text(encoding="utf-8")
    assert text.count("<math") > 40
    assert not re.search(r"\\(?:frac|gamma|partial)", Page(text).text)


@pytest.fixture(scope="module")
def browse(tmp_path_factory):
    """What a browser makes of a page without a network: its HTML after all scripts have run."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip(f"no browser here (none of {', '.join(BROWSERS)})")
    home = tmp_path_factory.mktemp("browser")

    def open_page(path):
        done = subprocess.run(
            [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
             f"--user-data-dir={home}", "--host-resolver-rules=MAP * ~NOTFOUND",
             "--virtual-time-budget=5000", "--dump-dom", path.resolve().as_uri()],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return Page(done.stdout)

    return open_page


@pytest.mark.slow
def test_a_browser_follows_the_tutorial(site, browse):
    name = "docs/index.html"
    for step in TUTORIAL:
        page = browse(site.folder / name)
        assert page.text.startswith(("dualnet", "First", "Your", "Two", "Reading"))
        name = following(page, name, f"{step}.html")
    assert "You know the basics now" in browse(site.folder / name).text
