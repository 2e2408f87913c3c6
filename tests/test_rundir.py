"""The names in a run directory: as users and earlier versions know them."""

from __future__ import annotations

import ast
import os
import re

import pytest

from dualnet.errors import UsageError
from dualnet.rundir import RunDir, Snapshot

RUN = RunDir("runs/a")
NET3 = RUN.piece("net3")


def test_names_of_a_run():
    assert f"{RUN}" == os.fspath(RUN) == "runs/a"
    found = [RUN.config, RUN.identity, RUN.diverged, RUN.exchange]
    assert found == ["runs/a/config.yaml", "runs/a/run.json", "runs/a/diverged", "runs/a/exchange"]


def test_names_of_a_piece():
    assert [NET3.log, NET3.output, NET3.status, NET3.inputs, NET3.solver, NET3.net] == [
        "runs/a/net3.log", "runs/a/net3.out", "runs/a/net3.status.json", "runs/a/net3_inputs.json",
        "runs/a/net3_solver.prototxt", "runs/a/net3_train_test.prototxt",
    ]  # fmt: skip
    assert [NET3.lives, NET3.events] == ["runs/a/net3.run.json", "runs/a/tensorboard/net3"]
    assert NET3.temporary == "runs/a/.net3.tmp" and NET3.has_written("net3.run.json")


def test_names_of_a_checkpoint():
    found = NET3.at(20)
    assert [found.weights, found.state, found.record, found.extras("momentum")] == [
        "runs/a/net3_iter_20.caffemodel", "runs/a/net3_iter_20.solverstate",
        "runs/a/net3_iter_20.checkpoint.json", "runs/a/net3_iter_20.momentum.npz",
    ]  # fmt: skip
    assert Snapshot.of(found.weights) == found and found.piece == NET3
    assert Snapshot.of("weights.caffemodel") is None
    assert RunDir("").piece("net1").at(1).weights == "net1_iter_1.caffemodel"


def test_iterations_are_those_of_whole_names():
    names = [
        "net1_iter_5.checkpoint.json", "net1_iter_40.checkpoint.json", "net1_iter_40.caffemodel",
        "net11_iter_6.checkpoint.json", "xnet1_iter_7.checkpoint.json",
        "net1_iter_8.checkpoint.json~", "net1_iter_.checkpoint.json", "net1_iter_9.caffemodel",
    ]  # fmt: skip
    assert RUN.piece("net1").recorded(names) == [5, 40]
    assert RUN.piece("net1").saved(names) == [40, 9]


def test_what_a_start_may_remove_is_its_own():
    piece = RUN.piece("net1")
    for name in (".net1.tmp_status", ".net1.tmp.config.yaml.1-a", "net1_solver.prototxt.1-a.tmp"):
        assert piece.is_temporary(name) and not RUN.piece("net11").is_temporary(name)
    for name in ("net1.log", "net1_iter_5.caffemodel", ".net11.tmp_status", "my.tmp", "net1.tmp"):
        assert not piece.is_temporary(name)


def test_what_belongs_to_a_checkpoint():
    found = RUN.piece("net1").at(5)
    for path in (found.weights, found.state, found.record, found.extras("exchange")):
        name = os.path.basename(path)
        assert RUN.piece("net1").is_of_checkpoint(name)
        assert not RUN.piece("net2").is_of_checkpoint(name)
    assert not RUN.piece("net1").is_of_checkpoint("net1_iter_5.caffemodel.1-a.aside")
    aside = RUN.piece("net1").aside("net1_iter_5.caffemodel")
    assert aside.startswith("runs/a/net1_iter_5.caffemodel.") and aside.endswith(".aside")


@pytest.mark.parametrize(
    ("present", "expected"),
    [
        (["single"], ["single"]),
        (["single", "net1"], ["single"]),
        (["net1"], ["net1", "net2"]),  # the other one may be on another disk
        (["net2", "net1"], ["net1", "net2"]),
        (["net1", "net3"], ["net1", "net2", "net3"]),
        ([f"net{n}" for n in range(10, 0, -1)], [f"net{n}" for n in range(1, 11)]),
    ],
)
def test_the_pieces_that_have_trained_here(tmp_path, present, expected):
    for name in present:
        (tmp_path / f"{name}_solver.prototxt").touch()
    (tmp_path / "my_solver.prototxt").touch()
    assert [piece.name for piece in RunDir(str(tmp_path)).pieces()] == expected


def test_no_run_has_no_pieces(tmp_path):
    (tmp_path / "net2_solver.prototxt").touch()
    for path in (tmp_path, tmp_path / "gone"):
        with pytest.raises(UsageError, match=r"no run here \(no single_solver.prototxt or net1_"):
            RunDir(str(path)).pieces()


def test_logs_in_the_order_of_the_chain(tmp_path):
    for name in ("single.log", "net10.log", "net2.log", "net1.log", "net0.log", "mine.log"):
        (tmp_path / name).touch()
    found = [piece.name for piece in RunDir(str(tmp_path)).logged()]
    assert found == ["net1", "net2", "net10", "single"]
    assert RunDir(str(tmp_path / "gone")).logged() == []


#: What the names in a run directory are made of, in a string that is no sentence.
_NAMES = re.compile(
    r"_iter_|checkpoint\.json|_inputs\.json|status\.json|run\.json|config\.yaml"
    r"|_(solver|train_test)\.prototxt$|\.(log|out|npz|aside|solverstate)$"
)
#: Files of these names that are not in a run directory: users' nets, weights and messages.
_OTHERS = (
    "cut",
    "data",
    "engine",
    "bench/memory/probe.py",
    "bench/peers",
    "training/outcome/merge.py",
    "exchange/paths.py",
)


def strings_of(path):
    """(line, text) of the strings of a module that are no docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docs = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and ast.get_docstring(node) is not None
    }
    for node in ast.walk(tree):
        is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
        if is_text and id(node) not in docs:
            yield node.lineno, node.value


def test_no_other_module_spells_them(repository):
    package = repository / "dualnet"
    found = [
        f"{path.relative_to(package)}:{line}: {text}"
        for path in sorted(package.rglob("*.py"))
        if not str(path.relative_to(package)).startswith((*_OTHERS, "rundir.py"))
        for line, text in strings_of(path)
        if _NAMES.search(text)
    ]
    assert found == []
