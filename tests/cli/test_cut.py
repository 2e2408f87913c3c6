"""What `dualnet split` makes of its arguments."""

from __future__ import annotations

import pytest

from dualnet import cli
from dualnet.cli.cut import parse_shape
from dualnet.errors import UsageError


@pytest.mark.parametrize("shape", ["data", "data=", "data=3,x", "data=3,0", "=3"])
def test_shapes_that_are_none(shape):
    with pytest.raises(UsageError, match=f"--shape {shape}: expected BLOB=C,H,W"):
        parse_shape(shape)


def test_shape_of_a_sample():
    assert parse_shape("data=3,32,16") == ("data", [3, 32, 16])


def test_split_and_plan_say_which_code_of_the_users_they_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("_handle_stops", "_handle_interrupts", "_name_crashes"):  # pytest's stay
        monkeypatch.setattr(cli, name, lambda *handlers: None)
    layer = 'layer { type: "Python" top: "x" python_param { module: "no.such" layer: "Source" } }\n'
    (tmp_path / "net_train_test.prototxt").write_text(layer + layer)
    (tmp_path / "net_solver.prototxt").write_text(
        'net: "net_train_test.prototxt" base_lr: 1 lr_policy: "fixed" max_iter: 1'
    )
    for words in (
        ["split", "net_train_test.prototxt", "--at", "x", "--dual", "y", "-o", "cut"],
        ["plan", "net_train_test.prototxt"],
    ):
        assert cli.main(words) == 2
        first = capsys.readouterr().err.splitlines()[0]
        assert f"{words[0]} builds the net and so imports and runs" in first
        assert first.endswith(": no.such.Source")
        with pytest.raises(SystemExit):
            cli.main([words[0], "--help"])
        said = " ".join(capsys.readouterr().out.split())
        assert "its Python layers are imported and run" in said
