"""A run that is made longer: as if it had been that long from the start, or refused."""

from __future__ import annotations

import os
import shutil
import threading
from contextlib import nullcontext
from pathlib import Path

import pytest

from dualnet.config import load_run
from dualnet.errors import DualnetError, ManifestMismatch, UsageError
from dualnet.report.parse import parse_log
from dualnet.rundir import RunDir
from dualnet.training.checkpoint import commit
from dualnet.training.loop.session import Session
from dualnet.training.outcome.digest import digest
from tests.training.pieces import load
from tests.training.start.test_identity import content_of, edit
from tests.training.starting import train_one, train_single
from tests.training.test_restart import RULES, SHORT, Crash, one_by_one, rows_of, run_chain

__all__ = ["one_by_one"]  # a fixture

LONG = tuple(setting for setting in SHORT if "max_iter" not in setting) + ("train.max_iter=19",)


@pytest.fixture
def fixed(workdir):
    """A working directory whose learning rates do not count on max_iter."""
    os.unlink("prototxt")
    shutil.copytree(Path(__file__).parents[3] / "prototxt" / "digits", "prototxt/digits")
    for name in ("single", "net1", "net2"):
        edit(f"prototxt/digits/{name}_solver.prototxt", '"poly"', '"fixed"')
    return workdir


def equal(one, other, names=("net1", "net2")):
    """Check weights, solver history and log of two runs, but for the test at the old end."""
    assert digest(RunDir(one)) == digest(RunDir(other))
    for name in names:
        (train, tests), (train_too, tests_too) = (rows_of(run, name) for run in (one, other))
        assert train == train_too
        at = {row[0] for row in tests.get(0, [])}
        assert tests.get(0, []) == [row for row in tests_too.get(0, []) if row[0] in at]


def refused(run_dir, expected, train):
    before = content_of(run_dir)
    with pytest.raises(DualnetError) as caught:
        train()
    assert caught.value.exit_code == 2 and "\n" not in str(caught.value)
    for part in (run_dir, *expected):
        assert part in str(caught.value)
    assert content_of(run_dir) == before


def test_a_single_run_that_is_complete_or_not_becomes_longer(fixed):
    train_single(load(*LONG), RunDir("whole"))
    train_single(load(*SHORT), RunDir("run"))
    with pytest.raises(Crash):
        train_single(load(*LONG), RunDir("run"), progress=crash_at(14))
    longer = tuple(LONG[:-1]) + ("train.max_iter=23",)
    assert train_single(load(*LONG), RunDir("run")).is_continued
    equal("whole", "run", ["single"])
    assert train_single(load(*LONG), RunDir("run")) is None
    assert load_run(RunDir("run")).train.max_iter == 19
    assert "train.max_iter is 19 now, was 11\n" in Path("run/single.log").read_text()
    train_single(load(*longer), RunDir("run"))
    assert parse_log("run/single.log").train[-1].iteration == 22


@pytest.mark.parametrize("rule", ["gradient", "updated", "admm", "ahead"])
@pytest.mark.parametrize("interval", [3, 11])
def test_two_pieces_that_are_complete_train_on(fixed, rule, interval):
    """11: a test at the old end belongs to the longer run, too."""
    settings = (*RULES[rule], f"train.test_interval={interval}", "train.snapshot=11")
    run_chain("whole", *LONG, *settings)
    run_chain("run", *SHORT, *settings)
    run_chain("run", *LONG, *settings, net1=(13,), net2=(12, 17))
    equal("whole", "run")
    for name in ("net1", "net2"):
        assert train_one(load(*LONG, *settings), RunDir("run").piece(name)) is None
    assert not list(Path("run/exchange").rglob("*.npy"))


@pytest.mark.parametrize("carrier", ["files", "tcp"])
@pytest.mark.parametrize("snapshot", [0, 4])
def test_whatever_carries_the_messages_and_without_checkpoints_between(fixed, carrier, snapshot):
    settings = (f"exchange.carrier={carrier}", f"train.snapshot={snapshot}")
    run_chain("whole", *LONG, *settings)
    run_chain("run", *SHORT, *settings)
    run_chain("run", *LONG, *settings)
    equal("whole", "run")


def stop_both(run_dir, at, *settings):
    """Train two pieces until each fails at an iteration of its own, and nobody waits."""
    config = load(*settings, "exchange.restart_grace_s=0")

    def train(name):
        with pytest.raises((Crash, DualnetError)):
            train_one(config, RunDir(run_dir).piece(name), crash_at(at[name]))

    threads = [threading.Thread(target=train, args=(name,)) for name in at]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def crash_at(iteration):
    def arm(session):
        def look(done):
            if done == iteration:
                raise Crash

        session.on_progress = look

    return arm


def test_two_pieces_that_are_not_complete_go_on_for_longer_or_shorter(fixed):
    run_chain("whole", *LONG)
    stop_both("run", {"net1": 7, "net2": 7}, *SHORT)
    run_chain("run", *LONG)
    equal("whole", "run")
    run_chain("short", *SHORT)
    stop_both("parts", {"net1": 7, "net2": 7}, *LONG)
    run_chain("parts", *SHORT)
    equal("short", "parts")
    assert load_run(RunDir("parts")).train.max_iter == 11


def test_one_piece_is_complete_and_the_other_is_not(fixed, monkeypatch):
    """net2 dies in the last test: net1's part of that test is not what a longer run sends."""
    settings = ("train.test_interval=4", "exchange.restart_grace_s=0")
    run_chain("whole", *LONG, *settings)
    real, deaths = Session.show_test, [1]

    def show_test(session, iteration):
        if iteration == 11 and deaths and deaths.pop():
            raise Crash
        real(session, iteration)

    with monkeypatch.context() as patch:
        patch.setattr(Session, "show_test", show_test)
        with pytest.raises((Crash, DualnetError)):
            run_both_once("run", *SHORT, *settings)
    assert commit.complete(RunDir("run").piece("net1")) and not commit.complete(
        RunDir("run").piece("net2")
    )
    assert list(Path("run/exchange").rglob("net1.i000000000011.test*"))
    run_chain("run", *LONG, *settings)
    equal("whole", "run")


def run_both_once(run_dir, *settings):
    """Train both pieces, neither of which is started again."""
    errors = []

    def train(name):
        try:
            train_one(load(*settings), RunDir(run_dir).piece(name))
        except (Crash, DualnetError) as error:
            errors.append(error)

    threads = [threading.Thread(target=train, args=(name,)) for name in ("net1", "net2")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def test_both_pieces_have_to_agree(fixed):
    run_chain("run", *SHORT)
    errors = []

    def train(name, settings):
        try:
            train_one(load(*settings, "exchange.partner_timeout_s=1"), RunDir("run").piece(name))
        except DualnetError as error:  # the one that sees it later may find the other gone
            errors.append(error)

    shorter = (*LONG[:-1], "train.max_iter=17")
    threads = [
        threading.Thread(target=train, args=("net1", LONG)),
        threading.Thread(target=train, args=("net2", shorter)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    mismatches = [error for error in errors if isinstance(error, ManifestMismatch)]
    assert mismatches and "max_iter: 19 in net1, 17 in net2" in str(mismatches[0])
    # Nothing is lost: both of the same length go on.
    run_chain("whole", *LONG)
    run_chain("run", *LONG)
    equal("whole", "run")


def test_fewer_iterations_than_are_done_are_refused(fixed):
    train_single(load(*SHORT), RunDir("single"))
    fewer = (*SHORT, "train.max_iter=9")
    expected = ["train.max_iter is 9, but single has made 11 iterations", "set 11 or more"]
    refused("single", expected, lambda: train_single(load(*fewer), RunDir("single")))
    run_chain("dual", *SHORT)
    for path in Path("dual").glob("net1_iter_*"):
        path.unlink()
    for name in ("net1", "net2"):
        expected = ["train.max_iter is 9, but net2 has made 11 iterations"]
        refused("dual", expected, lambda: train_one(load(*fewer), RunDir("dual").piece(name)))  # noqa: B023
    assert train_single(load(*SHORT), RunDir("single")) is None


def test_a_schedule_that_counts_on_the_end_goes_on_from_a_complete_run_only(workdir):
    """The shipped digits run has lr_policy poly."""
    with pytest.raises(Crash):
        train_single(load(*SHORT), RunDir("run"), progress=crash_at(7))
    expected = ["train.max_iter is 19, was 11 when this run began", "lr_policy poly in ",
                "digits/single_solver.prototxt counts on it", "finish with 11 first"]  # fmt: skip
    refused("run", expected, lambda: train_single(load(*LONG), RunDir("run")))
    train_single(load(*SHORT), RunDir("run"))
    with pytest.raises(Crash):
        train_single(load(*LONG), RunDir("run"), progress=crash_at(13))
    assert train_single(load(*LONG), RunDir("run")).iteration == 19
    log = Path("run/single.log").read_text()
    assert "was 11; lr_policy poly: from here on the rates are those of a training of 19" in log
    rates = {row.iteration: row.learning_rate for row in parse_log("run/single.log").train}
    for iteration, length in ((3, 11), (12, 19), (18, 19)):
        assert rates[iteration] == pytest.approx(0.05 * (1 - iteration / length), rel=1e-5)
    # By hand there is no schedule.
    manual = ("update.rule=manual", "update.learning_rate=0.01")
    with pytest.raises(Crash):
        train_single(load(*SHORT, *manual), RunDir("manual"), progress=crash_at(7))
    assert train_single(load(*LONG, *manual), RunDir("manual")).iteration == 19


def test_with_poly_both_pieces_go_on_whichever_is_faster(workdir):
    run_chain("run", *SHORT)
    assert train_one(load(*SHORT), RunDir("run").piece("net2")) is None
    run_chain("run", *LONG, net1=(13,), net2=(14,))
    assert commit.latest(RunDir("run").piece("net1")).iteration == 19
    expected = ["train.max_iter is 11, but net1 has made 19 iterations"]
    refused("run", expected, lambda: train_one(load(*SHORT), RunDir("run").piece("net1")))


def test_a_run_that_has_converged_is_complete_whatever_its_length(fixed):
    early = ("convergence.window=2", "convergence.tolerance=0.99")
    train_single(load(*SHORT, *early), RunDir("run"))
    done = commit.latest(RunDir("run").piece("single"))
    assert done.converged and done.complete and done.iteration < 11
    assert train_single(load(*LONG, *early), RunDir("run")) is None


def flip(path):
    """Change one bit in the middle of a file; returns what it was."""
    content = Path(path).read_bytes()
    middle = len(content) // 2
    Path(path).write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    return content


@pytest.mark.parametrize("lost", ["flipped", "gone", "without a record"])
def test_with_poly_a_damaged_end_is_made_again_before_the_run_becomes_longer(workdir, lost):
    """What lies before the end would get the rates of the longer schedule, and nobody would see."""
    run_chain("whole", *SHORT)
    shutil.copytree("whole", "run")
    run_chain("whole", *LONG)
    for name in ("net2",) if lost == "flipped" else ("net1", "net2"):
        if lost == "flipped":
            flip(f"run/{name}_iter_11.caffemodel")
        kind = "*" if lost == "gone" else "checkpoint.json"
        for path in Path("run").glob(f"{name}_iter_11.{kind}") if lost != "flipped" else ():
            path.unlink()
    for name in ("net1", "net2"):
        expected = ["train.max_iter is 19, was 11", "finish with 11 first"]
        refused("run", expected, lambda: train_one(load(*LONG), RunDir("run").piece(name)))  # noqa: B023
    run_chain("run", *SHORT)
    run_chain("run", *LONG)
    equal("whole", "run")


@pytest.mark.parametrize("name", ["single", "net2"])
def test_with_poly_nothing_before_the_old_end_is_made_again_at_other_rates(workdir, name):
    def train(*settings, crash=()):
        if name == "single":
            train_single(
                load(*settings), RunDir("run"), progress=crash_at(*crash) if crash else None
            )
        elif crash:
            stop_both("run", {"net1": crash[0], "net2": crash[0]}, *settings)
        else:
            run_chain("run", *settings)

    few = ("train.snapshot=5", "train.keep=3")
    train(*SHORT, *few)
    shutil.copytree("run", "copy")
    run_chain("copy", *LONG, *few) if name != "single" else train_single(
        load(*LONG, *few), RunDir("copy")
    )
    with pytest.raises(Crash) if name == "single" else nullcontext():
        train(*LONG, *few, crash=(13,))
    content = flip(f"run/{name}_iter_11.solverstate")
    with pytest.raises(
        UsageError, match="before 11 had the rates of another train.max_iter than 19"
    ):
        train(*LONG, *few)
    Path(f"run/{name}_iter_11.solverstate").write_bytes(content)
    train(*LONG, *few)
    equal("copy", "run", ["single"] if name == "single" else ("net1", "net2"))
