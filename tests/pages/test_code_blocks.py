"""What the tutorial and the how-to pages tell their readers to type works, in the pages' order."""

from __future__ import annotations

from pathlib import Path

import pytest

from dualnet.config.load import from_dict
from dualnet.config.yaml_text import parse_yaml
from tests.pages.code_blocks import ROOT, blocks, make_folder, run_block

FIRST = ROOT / "docs/tutorial/first_run.md"
#: After the first, in the order in which they are read.
OTHERS = [
    *(ROOT / "docs/tutorial" / f"{name}.md" for name in ("own_net", "two_nodes", "curves")),
    *sorted(ROOT.glob("docs/howto/*.md")),
]
RUN = ("sh", "python")
#: Languages of blocks that are read and not typed; a block without any may hold both.
READ = ("prototxt", "text", "toml", "yaml")


def run_page(page, folder, variables):
    for block in blocks(page.read_text(encoding="utf-8")):
        if block.language in RUN and not block.reason:
            done = run_block(block, folder, variables)
            place = f"{page.relative_to(ROOT)}:{block.line}"
            assert done.returncode == 0, f"{place}:\n{block.code}\n{done.stdout}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder in which the first page's blocks have been run; and the environment for more."""
    made = tmp_path_factory.mktemp("reader")
    variables = make_folder(made)
    run_page(FIRST, made, variables)
    return made, variables


@pytest.mark.slow
def test_the_first_page_works(folder):
    made, _ = folder
    assert (made / "both.png").exists() and (made / "runs/two/net1_iter_20.caffemodel").exists()


@pytest.mark.slow
@pytest.mark.parametrize("page", OTHERS, ids=lambda page: f"{page.parent.name}-{page.stem}")
def test_the_blocks_of_a_page_work(page, folder):
    run_page(page, *folder)


@pytest.mark.parametrize("page", [FIRST, *OTHERS], ids=lambda page: page.stem)
def test_each_block_says_what_it_is(page):
    for block in blocks(page.read_text(encoding="utf-8")):
        assert block.language in (*RUN, *READ), f"{page.name}:{block.line}"


def test_yaml_is_a_configuration():
    found = 0
    for page in sorted(ROOT.glob("docs/**/*.md")):
        for block in blocks(page.read_text(encoding="utf-8")):
            if block.language == "yaml":
                from_dict(parse_yaml(block.code), f"{page.name}:{block.line}")
                found += 1
    assert found > 2


def test_the_reason_why_a_block_is_not_run_belongs_to_that_block():
    text = "```sh\na\n```\n\n*Not run by the tests: needs\nSlurm.*\n\n```sh\nb\n```\n\n"
    text += "```python\nc\n```\n"
    found = [(block.language, block.code, block.reason) for block in blocks(text)]
    assert found == [("sh", "a\n", ""), ("sh", "b\n", "needs Slurm."), ("python", "c\n", "")]
    assert [block.line for block in blocks(text)] == [2, 9, 13]


def test_a_block_that_fails_is_found(tmp_path):
    page = Path(tmp_path / "page.md")
    page.write_text("```sh\nfalse\ntrue\n```\n")
    (block,) = blocks(page.read_text())
    assert run_block(block, tmp_path, {}).returncode == 1
