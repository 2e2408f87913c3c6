"""Which shipped files a project has of its example, and what is changed in them."""

from __future__ import annotations

import re

import pytest

from dualnet import config
from dualnet.errors import UsageError
from dualnet.project.examples import EXAMPLES, contents, example_named
from dualnet.shipped import shipped, shipped_files

PROJECTS = [name for name, example in EXAMPLES.items() if example.config]


@pytest.mark.parametrize("name", PROJECTS)
def test_every_path_in_a_project_is_in_the_project(name):
    files = contents(EXAMPLES[name], "my-net")
    named = set()
    for path, text in files.items():
        if path.startswith("scripts/"):
            continue
        named |= set(re.findall(r"[\w./-]+\.(?:prototxt|yaml)", text))
    assert named <= set(files), named - set(files)
    assert "prototxt/net2_train_test.prototxt" in named


@pytest.mark.parametrize("name", PROJECTS)
def test_only_paths_and_the_name_are_changed(name):
    example = EXAMPLES[name]
    before = shipped(example.config).read_text(encoding="utf-8")
    after = contents(example, "my-net")["dualnet.yaml"]
    differ = [
        (one, other)
        for one, other in zip(before.splitlines(), after.splitlines())
        if one != other and not one.startswith("#")
    ]
    assert before.count("\n") == after.count("\n")
    assert [other for one, other in differ if "prototxt/" not in one] == ["name: my-net"]


@pytest.mark.parametrize("name", PROJECTS)
def test_each_piece_has_its_solver_and_its_net(name):
    files = contents(EXAMPLES[name], "my-net")
    pieces = 3 if name == "three" else 2
    prototxt = {path for path in files if path.startswith("prototxt/")}
    names = ["single", *(f"net{number}" for number in range(1, pieces + 1))]
    assert prototxt == {
        f"prototxt/{one}_{kind}.prototxt" for one in names for kind in ("solver", "train_test")
    }
    folders = {f"prototxt/{part}" for part in ("digits", "digits_three", "cifar10", "cats_dogs")}
    assert not any(f"{folder}/" in text for text in files.values() for folder in folders)


@pytest.mark.parametrize(
    ("name", "line"),
    [("my-net", "name: my-net"), ("no", 'name: "no"'), ("1e3.5", "name: 1e3.5"),
     ("12", 'name: "12"'), ("über", "name: über"), ("a b", "name: digits"), ("", "name: digits"),
     (".hidden", "name: digits")],
)  # fmt: skip
def test_runs_are_called_after_the_project_where_that_can_be(name, line, tmp_path):
    text = contents(EXAMPLES["digits"], name)["dualnet.yaml"]
    assert line in text.splitlines()
    (tmp_path / "dualnet.yaml").write_text(text, encoding="utf-8")
    loaded = config.load(str(tmp_path / "dualnet.yaml"))
    assert loaded.name == (name if "digits" not in line else "digits")


def test_scripts_speak_of_the_project():
    files = contents(EXAMPLES["digits"], "my-net")
    scripts = {path: text for path, text in files.items() if path.startswith("scripts/")}
    assert set(scripts) == set(shipped_files("scripts"))
    for path, text in scripts.items():
        assert "repository" not in text and "configs/" not in text, path
    assert "scripts/run_net1.sh dualnet.yaml /shared/runs/first" in scripts["scripts/run_net1.sh"]


def test_all_is_everything_as_it_is():
    files = contents(EXAMPLES["all"], "lab")
    assert set(files) == set(shipped_files())
    assert files["configs/digits.yaml"] == shipped("configs/digits.yaml").read_text("utf-8")


def test_an_unknown_example_is_told_with_those_that_there_are():
    with pytest.raises(UsageError, match="mnist: there is none; choose one of digits, three"):
        example_named("mnist")
