"""What the pages say of the program is so: links, commands, modules, settings, drawn schedules."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from dualnet.config.schema import Config, Exchange
from dualnet.exchange.settings import ExchangeSettings
from dualnet.training.loop.schedule import Up, actions, lookahead

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md")), ROOT / "configs/README.md"]

_LINK = re.compile(r"\]\(([^)\s#]+)(?:#[\w-]*)?\)")


def missing_links(text, folder):
    """Targets of a page's links that are not there; addresses of the web are left out."""
    targets = [target for target in _LINK.findall(text) if "://" not in target]
    return [target for target in targets if not (folder / target).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    assert missing_links(page.read_text(encoding="utf-8"), page.parent) == []


def test_a_link_to_nothing_is_found():
    text = "[a](README.md) [b](docs/nowhere.md#part) [c](https://example.org/x)"
    assert missing_links(text, ROOT) == ["docs/nowhere.md"]


def test_the_first_page_links_every_other():
    first = ROOT / "docs/index.md"
    linked = {
        (first.parent / target).resolve() for target in _LINK.findall(first.read_text("utf-8"))
    }
    assert {page for page in PAGES[1:] if page != first} <= linked


def test_the_tree_of_the_code_has_every_module():
    page = (ROOT / "docs/development/code.md").read_text(encoding="utf-8")
    tree = page.rpartition("\ndualnet/\n")[2]
    found = {path.name for path in (ROOT / "dualnet").iterdir() if path.suffix in ("", ".py")}
    named = set(re.findall(r"(?<![\w/])(\w+(?:\.py|(?=/)))", tree))
    assert {name for name in found if not name.startswith("__")} <= named


def test_settings_that_no_key_sets_are_listed():
    page = (ROOT / "docs/explanation/exchange.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `(\w+)`, ", page.partition("## Settings")[2], re.MULTILINE)
    names = [{f.name for f in dataclasses.fields(cls)} for cls in (ExchangeSettings, Exchange)]
    assert set(listed) == names[0] - names[1]


def drawn(settings, parts, iterations):
    """The rows of a drawing: what three pieces do, each action a column wide, messages free."""
    config = Config(pieces=Config().pieces + Config().pieces[:1], cuts=Config().cuts * 2)
    config = dataclasses.replace(config, train=dataclasses.replace(config.train, **settings))
    todo, ends, rows = {}, {}, {name: {} for name in config.names}
    for place, name in enumerate(config.names):
        ahead, sent, todo[place] = lookahead(config, name, parts), 0, []
        for iteration in range(iterations):
            for action in actions(iteration, parts, sent, ahead, iteration + ahead.iterations):
                is_up = isinstance(action, Up)
                sent += is_up
                todo[place].append((is_up, action.batch.number))
    while any(todo.values()):
        for place, name in enumerate(config.names):
            while todo[place]:
                is_up, number = todo[place][0]
                before = place - 1 if is_up else place + 1
                if before in (-1, len(todo)):
                    start = 0
                elif (before, is_up, number) in ends:
                    start = ends[before, is_up, number]
                else:
                    break
                start = max(start, max(rows[name], default=-1) + 1)
                rows[name][start] = f"{'u' if is_up else 'd'}{number}"
                ends[place, is_up, number] = start + 1
                del todo[place][0]
    return {
        name: " ".join(f"{row.get(at, ''):2}" for at in range(max(row) + 1))
        for name, row in rows.items()
    }


@pytest.mark.parametrize(
    ("title", "settings", "parts"),
    [
        ("**alternating**", {}, 1),
        ("1f1b   ", {"schedule": "pipelined"}, 4),
        ("gpipe  ", {"schedule": "pipelined", "micro_batch_order": "gpipe"}, 4),
        ("**overlapped**", {"schedule": "overlapped"}, 1),
    ],
)
def test_schedules_are_drawn_as_they_are(title, settings, parts):
    page = (ROOT / "docs/explanation/chain.md").read_text(encoding="utf-8")
    picture = page[page.index(f"\n{title}") :]
    rows = re.findall(r"(net\d)   (.*)$", picture, re.MULTILINE)[:3]
    shown = {name: row.rstrip(" |…") for name, row in rows}
    played = drawn(settings, parts, 8)
    assert sorted(shown) == ["net1", "net2", "net3"]
    for name, row in shown.items():
        assert len(row) > 15 and played[name].startswith(row), name
