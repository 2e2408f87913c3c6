"""The script that draws logs."""

from __future__ import annotations

import importlib.util

import pytest

from tests.report.test_parse import BVLC_LOG


@pytest.fixture
def main(repository, monkeypatch):
    """The script's main function."""
    path = repository / "scripts" / "plot_losses.py"
    spec = importlib.util.spec_from_file_location("plot_losses", path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setattr("sys.path", list(__import__("sys").path))
    spec.loader.exec_module(module)
    return module.main


def test_draws_a_run_and_its_tables(main, make_run, tmp_path, capsys, matplotlib):
    run = make_run("dual")
    out = tmp_path / "losses.png"
    arguments = [run, "-o", out, "--series", "norm", "--smooth", 5, "--linear", "--csv"]
    assert main([str(argument) for argument in arguments]) == 0
    assert out.read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in run.glob("*.log.*")) == [
        "net1.log.train", "net2.log.test", "net2.log.train",
    ]  # fmt: skip
    printed, errors = capsys.readouterr()
    assert printed.startswith(f"wrote {out}\nwrote ") and errors == ""


def test_draws_a_log_of_caffe(main, tmp_path, matplotlib):
    assert main([str(BVLC_LOG), "-o", str(tmp_path / "a.svg"), "--log", "--title", "T"]) == 0
    assert (tmp_path / "a.svg").is_file()


def test_errors_are_one_line_and_an_exit_code(main, tmp_path, capsys):
    assert main([str(tmp_path / "absent"), "-o", str(tmp_path / "a.png")]) == 2
    printed, errors = capsys.readouterr()
    assert printed == ""
    assert errors.startswith("plot_losses.py: there is no ") and errors.count("\n") == 1
    for wrong in (["x"], ["x", "-o", "y", "--smooth", "0"], ["x", "-o", "y", "--log", "--linear"]):
        with pytest.raises(SystemExit) as stopped:
            main(wrong)
        assert stopped.value.code == 2
    capsys.readouterr()


def test_help_shows_examples(main, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    assert "scripts/plot_losses.py train.log -o train.svg" in capsys.readouterr().out
