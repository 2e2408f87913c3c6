"""The solvers of both pieces."""

from __future__ import annotations

import pytest

from dualnet.cut.graph import read_solver
from dualnet.cut.split import Request, split
from tests.cut.singles import CHAIN, SOLVER, write_single

pytestmark = pytest.mark.usefixtures("workdir")


def test_solver_keeps_its_text_but_for_two_values(tmp_path):
    text = SOLVER.replace("max_iter", "# How long.\nmax_iter") + "train_net: 'old' test_net: 'o'\n"
    path = write_single(tmp_path / "nets", CHAIN, SOLVER.replace("max_iter", "# Why.\nmax_iter"))
    result = split(Request(path, [(["conv2"], ["conv3"])], "cut"))
    written = result.contents["cut/net2_solver.prototxt"]
    expected = SOLVER.replace("max_iter", "# Why.\nmax_iter")
    expected = expected.replace("single_train_test.prototxt", "net2_train_test.prototxt")
    assert written == expected.replace('"single"', '"net2"')
    write_single(tmp_path / "nets", CHAIN, text)
    result = split(Request(path, [(["conv2"], ["conv3"])], "cut"))
    with open("net2_solver.prototxt", "w", encoding="utf-8") as file:
        file.write(result.contents["cut/net2_solver.prototxt"])
    solver = read_solver("net2_solver.prototxt")
    assert solver.net == "net2_train_test.prototxt" and not solver.train_net
    assert any("1 line of comment not kept" in remark for remark in result.remarks)


def test_clipping_is_said_to_differ(tmp_path):
    path = write_single(tmp_path / "nets", CHAIN, SOLVER + "clip_gradients: 5\n")
    remarks = split(Request(path, [(["conv2"], ["conv3"])], "cut")).remarks
    assert any("clip_gradients 5: each piece clips by the norm" in remark for remark in remarks)
