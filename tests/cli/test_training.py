"""`dualnet train`, `net K` and `single`: which piece a command means, and what it says of it."""

from __future__ import annotations

import os
import signal
from types import SimpleNamespace

import pytest

from dualnet import cli
from dualnet.cli.training import spelled_out
from dualnet.process.stopping import STOP_SIGNALS
from dualnet.rundir import RunDir
from dualnet.training.outcome.digest import digest
from dualnet.training.start import launch, run

SOLVER = "prototxt/digits/single_solver.prototxt"
QUICK = ["--set", "train.max_iter=2", "--set", "train.test_interval=0"]


@pytest.fixture(autouse=True)
def as_before(monkeypatch):
    """Puts back what the command changes in its process."""
    before = {number: signal.getsignal(number) for number in (*STOP_SIGNALS, signal.SIGINT)}
    monkeypatch.setattr(os, "environ", os.environ.copy())
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def config(tmp_path, monkeypatch):
    """Writes the config of a chain of so many pieces, each with a learning rate of its own."""
    monkeypatch.chdir(tmp_path)

    def write(count):
        pieces = ", ".join(f"{{learning_rate: 0.{number}}}" for number in range(1, count + 1))
        path = tmp_path / "chain.yaml"
        path.write_text(f"pieces: [{pieces}]\ncuts: [{', '.join(['{}'] * (count - 1))}]\n")
        return path.name

    return write


@pytest.fixture
def trained(monkeypatch):
    """The pieces that were asked for, as (name, run directory, learning rate); none is trained."""
    asked = []

    def train(config, name, directory):
        asked.append((name, str(directory), config.piece(name).learning_rate))
        return SimpleNamespace(iteration=7, test_outputs={"accuracy": 0.5})

    monkeypatch.setattr(run, "train_piece", lambda config, piece, *rest: train(
        config, piece.name, piece.run))  # fmt: skip
    return asked


def said(capsys):
    """The one line that the command prints."""
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize(
    ("words", "expected"),
    [(["net3", "a.yaml", "net4"], ["net", "3", "a.yaml", "net4"]), (["net"], ["net"]), ([], []),
     (["train", "net1"], ["train", "net1"]), (["network"], ["network"])],
)  # fmt: skip
def test_one_word_for_a_piece(words, expected):
    assert spelled_out(words) == expected


@pytest.mark.parametrize("words", [["net", "{}"], ["net{}"]], ids=["two words", "one word"])
@pytest.mark.parametrize(("count", "number"), [(2, 1), (2, 2), (3, 2), (3, 3), (12, 11)])
def test_any_piece_by_its_number(config, trained, capsys, words, count, number):
    words = [word.format(number) for word in words]
    assert cli.main([*words, config(count), "--run-dir", "run"]) == 0
    assert trained == [(f"net{number}", "run", float(f"0.{number}"))]
    assert said(capsys) == f"trained net{number} to iteration 7, test accuracy 0.5000; run"


@pytest.mark.parametrize("number", ["0", "4", "10"])
def test_a_piece_that_the_chain_has_not(config, trained, capsys, number):
    for words in (["net", number], [f"net{number}"]):
        assert cli.main([*words, config(3), "--run-dir", "run"]) == 2
        assert said(capsys) == (
            f"dualnet: net {number}: chain.yaml has 3 pieces: net1, net2, net3; K is 1 to 3"
        )
    assert trained == [] and not os.path.exists("run")


def test_one_process_for_each_piece_is_checked_before_anything_is_touched(config, trained, capsys):
    words = ["net", "1", config(3), "--run-dir", "run", "--of"]
    assert cli.main([*words, "3"]) == 0 and len(trained) == 1
    capsys.readouterr()
    for other in ("2", "4"):
        assert cli.main([*words, other]) == 2
        assert said(capsys) == (
            f"dualnet: net 1: one process for each of {other} pieces was started, but chain.yaml "
            "has 3 pieces: net1, net2, net3; start 3 processes"
        )
    assert len(trained) == 1


def test_the_only_piece_of_a_chain_is_single(config, trained, capsys):
    for words in (["single"], ["net", "1"], ["net1"]):
        assert cli.main([*words, config(1), "--run-dir", "run"]) == 0
        assert trained.pop() == ("single", "run", 0.1)
        assert said(capsys).startswith("trained single to iteration 7")
    assert cli.main(["net", "2", config(1), "--run-dir", "run"]) == 2
    assert said(capsys) == "dualnet: net 2: chain.yaml has 1 piece: single; K is 1 to 1"


def test_single_of_a_longer_chain_is_the_uncut_net(config, trained):
    path = config(3)
    assert cli.main(["single", path, "--set", "single.learning_rate=0.9", "--run-dir", "run"]) == 0
    assert trained == [("single", "run", 0.9)]


def test_net_needs_a_run_directory_and_help_lists_no_word_for_each_piece(config, capsys):
    for words in (["net", "1", config(2)], ["net", "one", config(2), "--run-dir", "run"]):
        with pytest.raises(SystemExit) as caught:
            cli.main(words)
        assert caught.value.code == 2
    capsys.readouterr()
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    lines = capsys.readouterr().out.splitlines()
    commands = [line.split()[0] for line in lines if line.startswith("    ") and line[4] != " "]
    assert {"train", "net", "single"} <= set(commands)
    assert not any(word.startswith("net") and word != "net" for word in commands)


@pytest.mark.parametrize(
    ("count", "words"), [(1, "single"), (2, "net1 and net2"), (3, "net1 to net3")]
)
def test_train_starts_all_pieces_of_the_chain(workdir, monkeypatch, capsys, count, words):
    started = []

    def start(run_dir, names, arguments, watch, **settings):
        started.append((str(run_dir), names, arguments, settings["restarts"]))

    monkeypatch.setattr(launch, "launch", start)
    resolved = SimpleNamespace(max_iter=9, solver=SimpleNamespace(snapshot=5))
    monkeypatch.setattr("dualnet.training.net.resolve.resolve", lambda config, piece: resolved)
    monkeypatch.setattr("dualnet.training.start.claim.claim", lambda *arguments, **settings: None)
    (workdir / "chain.yaml").write_text(
        f"pieces: {[{}] * count}\ncuts: {[{}] * (count - 1)}\ntrain: {{schedule: overlapped}}\n"
    )
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    order = ["train", "chain.yaml", "--run-dir", "run", "--set", "seed=3", "--restarts", "4"]
    assert cli.main(order) == 0
    (found,) = started
    names = {1: ("single",), 2: ("net1", "net2"), 3: ("net1", "net2", "net3")}[count]
    shared = {
        1: [], 2: ["net2.cores='0'", "net1.cores='1'"], 3: [f"net{n}.threads=1" for n in (1, 2, 3)]
    }[count]  # fmt: skip
    overrides = [word for one in ("seed=3", *shared) for word in ("--set", one)]
    assert found == ("run", names, ["chain.yaml", "--run-dir", "run", *overrides], 4)
    told = capsys.readouterr().err.splitlines()
    assert told[0] == f"training {words} in run" and told[-1].startswith(f"trained {words}; see ")


def test_train_and_single_do_the_same_with_a_chain_of_one(dualnet, workdir):
    (workdir / "one.yaml").write_text(f"pieces: [{{solver: {SOLVER}, threads: 1}}]\n")
    for word in ("train", "single"):
        done = dualnet(word, "one.yaml", "--run-dir", word, *QUICK)
        assert done.returncode == 0, done.stderr
    assert digest(RunDir("train")) == digest(RunDir("single"))


def test_init_names_the_pieces_that_there_are(config, capsys):
    assert cli.main(["init", config(3), "net1", "net4", "-o", "out"]) == 2
    assert said(capsys).endswith("net4: no piece of this chain; its pieces are net1, net2, net3")
    assert not os.path.exists("out")


def test_init_of_a_piece_and_of_the_uncut_net(workdir, capsys):
    words = ["init", "configs/digits.yaml", "net2", "single", "-o", "out"]
    assert cli.main(words) == 0
    assert capsys.readouterr().out.split() == ["out/net2.caffemodel", "out/single.caffemodel"]
    assert all(os.path.getsize(f"out/{name}.caffemodel") for name in ("net2", "single"))
