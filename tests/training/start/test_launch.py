"""Two processes started, watched and ended together: no hang, no piece left behind, one message.

Most tests use pieces that are a few lines of Python: the launcher runs `python -m dualnet`, which
finds the package `dualnet` of the working directory first.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dualnet.errors import DualnetError, StorageFailed
from dualnet.exchange import ExchangeSettings, Membership
from dualnet.process.stopping import Stopped, Stopper
from dualnet.rundir import RunDir
from dualnet.training.start.launch import launch
from tests.processes import LIMIT_S, children_of, is_alive, wait_for

TWO, THREE = ("net1", "net2"), ("net1", "net2", "net3")

FAKE = """
import sys
piece = sys.argv[1]
exec(open(piece + ".py").read())
"""
SAY = "print({!r}, file=sys.stderr, flush=True)\n"
#: Says that it runs, and goes on for longer than any test waits.
SLEEP = "import time; open(piece + '.runs', 'w').close(); time.sleep(600)\n"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SLEEP
#: Ends as soon as the other piece runs.
WAIT = "import os, time\nwhile not os.path.exists('{}.runs'): time.sleep(0.01)\n"


@pytest.fixture
def pieces(tmp_path, monkeypatch):
    """Writes what net1, net2, … do."""
    package = tmp_path / "dualnet"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text(FAKE)
    (tmp_path / "run").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)

    def write(*bodies):
        for number, body in enumerate(bodies, start=1):
            (tmp_path / f"net{number}.py").write_text("import sys\n" + body)

    return write


def run(watch=lambda: None, grace_s=LIMIT_S, names=TWO):
    arguments = ["config.yaml", "--run-dir", "run"]
    launch(RunDir("run"), names, arguments, watch, grace_s=grace_s, poll_s=0.02)


def failure(**settings):
    with pytest.raises(DualnetError) as caught:
        run(**settings)
    assert "\n" not in str(caught.value)
    return str(caught.value), caught.value.exit_code


# Both run to their end.


def test_both_pieces_get_the_arguments_and_end(pieces):
    tell = "open(piece + '.told', 'w').write(' '.join(sys.argv[1:]))\n"
    pieces(tell, tell)
    looks = []
    run(watch=lambda: looks.append(1))
    for name in ("net1", "net2"):
        assert Path(f"{name}.told").read_text() == f"{name} config.yaml --run-dir run --stop-at-eof"
    assert looks


def test_output_of_each_piece_is_kept(pieces):
    pieces("print('out 1')\n" + SAY.format("err 1"), SAY.format("err 2"))
    run()
    assert sorted(Path("run/net1.out").read_text().split("\n")) == ["", "err 1", "out 1"]
    assert Path("run/net2.out").read_text() == "err 2\n"


def test_piece_that_ends_well_before_the_other_is_no_failure(pieces):
    pieces("pass", "import time; time.sleep(0.3)")
    run(grace_s=0.0)


# One fails.


@pytest.mark.parametrize("culprit", ["net1", "net2"])
@pytest.mark.parametrize("delay_s", [0.0, 0.3])
def test_message_is_that_of_the_piece_that_failed_not_of_the_one_that_noticed(
    pieces, culprit, delay_s
):
    blamed = SAY.format("dualnet: pool2 is damaged") + "sys.exit(73)\n"
    noticed = f"import time; time.sleep({delay_s})\n" + SAY.format(
        "dualnet: the neighbour is gone: see its log"
    ) + "sys.exit(71)\n"  # fmt: skip
    pieces(*((blamed, noticed) if culprit == "net1" else (noticed, blamed)))
    assert failure() == (f"{culprit}: pool2 is damaged", 73)


def test_piece_that_noticed_is_blamed_if_nobody_else_failed(pieces):
    pieces(SAY.format("dualnet: net2 is gone") + "sys.exit(71)\n", "pass")
    assert failure() == ("net1: net2 is gone", 71)


@pytest.mark.parametrize("code", [1, 2, 70, 74, 75])
def test_exit_codes_are_passed_on(pieces, code):
    pieces("pass", SAY.format("dualnet: why") + f"sys.exit({code})\n")
    assert failure() == ("net2: why", code)


def test_error_line_is_found_before_later_noise(pieces):
    pieces(SAY.format("dualnet: why") + SAY.format("bye") + "sys.exit(2)\n", "pass")
    assert failure() == ("net1: why", 2)


def test_piece_that_names_itself_is_named_once(pieces):
    pieces(SAY.format("dualnet: net1: the loss is nan") + "sys.exit(1)\n", "pass")
    assert failure() == ("net1: the loss is nan", 1)


def test_traceback_tells_its_last_line(pieces):
    pieces("raise ValueError('no such thing')", "pass")
    message, code = failure()
    assert message == (
        "net1: exit code 1; ValueError: no such thing (more in run/net1.out)"
    )  # fmt: skip
    assert code == 1


def test_silent_failure(pieces):
    pieces("pass", "sys.exit(5)")
    assert failure() == ("net2: exit code 5; no output (more in run/net2.out)", 5)


def test_piece_that_had_no_room_for_its_output_speaks_by_its_heartbeat(pieces):
    settings = {"lock_dir": os.path.abspath("locks"), "hash_threads": 0}
    Membership("net2", "run", ExchangeSettings(**settings), {}).close("failed: no room for it")
    pieces("pass", "sys.exit(74)")
    message, code = failure()
    assert code == 74
    assert message == (
        "net2: exit code 74 (the disk is full or fails); failed: no room for it "
        "(more in run/net2.out)"
    )


def test_abort_of_caffe_tells_its_check_not_the_stack(pieces):
    pieces("pass", "".join(SAY.format(line) for line in (
        "I1122 15:47:14.839432  9521 net.cpp:84] Creating Layer conv1",
        "F1122 15:47:14.839440  9521 net.cpp:757] Check failed: a == b (1 vs. 2) Shape mismatch",
        "*** Check failure stack trace: ***",
        "    @     0x7f3a4a9a15cd  google::LogMessage::Fail()",
    )) + "import os; os.abort()\n")  # fmt: skip
    message, code = failure()
    assert code == 1
    assert message == (
        "net2: ended by SIGABRT (BVLC Caffe calls abort() on invalid input); "
        "Check failed: a == b (1 vs. 2) Shape mismatch (more in run/net2.out)"
    )


def test_a_crash_tells_where_it_was(pieces):
    pieces(
        SLEEP,
        WAIT.format("net1")
        + """
import faulthandler, os, signal
faulthandler.enable()
def read_record():
    os.kill(os.getpid(), signal.SIGBUS)
read_record()
""",
    )
    message, code = failure(grace_s=0.5)
    assert message.startswith("net2: ended by SIGBUS (often a damaged database")
    assert 'Fatal Python error: Bus error, at File "<string>", line' in message
    assert "in read_record" in message and code == 1


def test_killed_piece_is_named(pieces):
    pieces(SLEEP, WAIT.format("net1") + "import signal; os.kill(os.getpid(), signal.SIGKILL)\n")
    message, code = failure(grace_s=0.5)
    assert message.startswith(
        "net2: ended by SIGKILL (by the user, or by the system's out-of-memory killer)"
    )
    assert code == 1
    assert children_of(os.getpid()) == []


# Three pieces.


def end(words, code):
    return SAY.format(f"dualnet: {words}") + f"sys.exit({code})\n"


def test_pieces_of_any_number_run_to_their_end(pieces):
    tell = "open(piece + '.told', 'w').close()\n"
    pieces(tell, tell, tell)
    run(names=THREE)
    assert all(Path(f"{name}.told").exists() for name in THREE)


@pytest.mark.parametrize("culprit", THREE)
def test_the_piece_that_failed_by_itself_is_blamed_among_those_that_noticed(pieces, culprit):
    noticed = end("net9 said that its neighbour failed", 71)
    pieces(*(end("the loss is nan", 1) if name == culprit else noticed for name in THREE))
    assert failure(names=THREE) == (f"{culprit}: the loss is nan", 1)


def test_the_piece_that_hangs_is_named_and_not_the_one_in_between(pieces):
    """SIGSTOP of the last one: net2 sees that, and net1 is told; or net1 takes net2 for hung."""
    for below in (end("net2 failed: net3 is alive but", 71), end("net2 is alive but", 72)):
        pieces(below, end("net3 is alive but has made no progress", 72), STUBBORN)
        message, code = failure(names=THREE, grace_s=0.5)
        assert (message, code) == ("net2: net3 is alive but has made no progress", 72)
    assert children_of(os.getpid()) == []


def test_a_failing_disk_is_blamed_and_not_that_a_piece_waited_for_it(pieces):
    hung = end("net2 is alive but has made no progress", 72)
    pieces(hung, end("no space left", 74), hung)
    assert failure(names=THREE) == ("net2: no space left", 74)


# Restarts.

#: Counts its starts in a file and fails in all but the last of them.
FAIL = """
import os, signal
with open(piece + ".starts", "a") as file:
    file.write("x")
if os.path.getsize(piece + ".starts") < {times}:
    print("dualnet: once more", file=sys.stderr, flush=True)
    {how}
"""


def starts(piece):
    return len(Path(f"{piece}.starts").read_text())


@pytest.mark.parametrize(
    "how", ["os.kill(os.getpid(), signal.SIGKILL)", "sys.exit(74)", "sys.exit(71)"]
)
def test_piece_that_died_is_started_again(pieces, how):
    pieces(FAIL.format(times=3, how=how), FAIL.format(times=1, how="") + WAIT_FOR_STARTS)
    launch(RunDir("run"), TWO, [], lambda: None, grace_s=LIMIT_S, poll_s=0.02, restarts=2)
    assert (starts("net1"), starts("net2")) == (3, 1)
    assert Path("run/net1.out").read_text().count("once more") == 2


def test_several_pieces_that_died_are_started_again(pieces):
    """Each start counts; a third death would be one too many."""
    kill = "os.kill(os.getpid(), signal.SIGKILL)"
    once, twice = FAIL.format(times=1, how=""), FAIL.format(times=2, how=kill)
    pieces(twice, once, twice)
    launch(RunDir("run"), THREE, [], lambda: None, grace_s=LIMIT_S, poll_s=0.02, restarts=2)
    assert [starts(name) for name in THREE] == [2, 1, 2]
    for name in THREE:
        os.unlink(f"{name}.starts")
    with pytest.raises(DualnetError, match="^net[13]: once more"):
        launch(RunDir("run"), THREE, [], lambda: None, grace_s=LIMIT_S, poll_s=0.02, restarts=1)


def test_a_piece_that_hangs_is_started_again_with_the_one_that_noticed(pieces):
    count = "open(piece + '.starts', 'a').write('x')\nimport os\n"
    first = "if os.path.getsize(piece + '.starts') < 2:\n"
    notices = WAIT.format("net3") + SAY.format("dualnet: net3 is alive but hangs") + "sys.exit(72)"
    indented = [
        "".join(f"    {line}\n" for line in body.splitlines()) for body in (notices, STUBBORN)
    ]
    pieces("pass", *(count + first + body for body in indented))
    launch(RunDir("run"), THREE, [], lambda: None, grace_s=LIMIT_S, poll_s=0.02, restarts=2)
    assert (starts("net2"), starts("net3")) == (2, 2)
    for name in ("net2.starts", "net3.starts", "net3.runs"):
        os.unlink(name)
    with pytest.raises(DualnetError, match="^net2: net3 is alive but hangs$"):
        launch(RunDir("run"), THREE, [], lambda: None, grace_s=0.2, poll_s=0.02, restarts=1)
    assert children_of(os.getpid()) == []


#: The survivor goes on until the other piece has been started three times.
WAIT_FOR_STARTS = """
import time
while not (os.path.exists("net1.starts") and os.path.getsize("net1.starts") == 3):
    time.sleep(0.01)
"""


def test_restarts_are_counted(pieces):
    pieces(FAIL.format(times=9, how="sys.exit(74)"), SLEEP)
    with pytest.raises(DualnetError) as caught:
        launch(RunDir("run"), TWO, [], lambda: None, grace_s=0.2, poll_s=0.02, restarts=2)
    assert (str(caught.value), caught.value.exit_code) == ("net1: once more", 74)
    assert starts("net1") == 3
    assert children_of(os.getpid()) == []


@pytest.mark.parametrize("code", [1, 2, 75, 76])
def test_what_would_come_again_is_not_started_again(pieces, code):
    pieces(FAIL.format(times=9, how=f"sys.exit({code})"), SLEEP)
    with pytest.raises(DualnetError) as caught:
        launch(RunDir("run"), TWO, [], lambda: None, grace_s=0.2, poll_s=0.02, restarts=5)
    assert caught.value.exit_code == code and starts("net1") == 1


@pytest.mark.parametrize(("net2_code", "expected"), [(0, 0), (143, 143)])
def test_stop_is_passed_on(pieces, net2_code, expected):
    end = (
        "import signal, time\n"
        "signal.signal(signal.SIGTERM, lambda n, f: sys.exit({}))\n"
        "open(piece + '.runs', 'w').close(); time.sleep(600)\n"
    )
    pieces(end.format(0), end.format(net2_code))
    with pytest.raises(Stopped) as caught, Stopper(LIMIT_S) as stopper:
        stopper.defers_first_signal = True

        def watch():
            if os.path.exists("net1.runs") and os.path.exists("net2.runs"):
                os.kill(os.getpid(), signal.SIGTERM)

        launch(RunDir("run"), TWO, [], watch, poll_s=0.02, stopper=stopper)
    assert caught.value.exit_code == expected
    assert children_of(os.getpid()) == []


# Nothing is left behind.


@pytest.mark.parametrize("survivor", [SLEEP, STUBBORN], ids=["sleeping", "stubborn"])
def test_survivor_that_does_not_notice_is_ended(pieces, survivor):
    pieces(WAIT.format("net2") + SAY.format("dualnet: broken") + "sys.exit(3)\n", survivor)
    assert failure(grace_s=0.5) == ("net1: broken", 3)
    assert children_of(os.getpid()) == []


def test_error_while_watching_ends_both(pieces):
    pieces(SLEEP, SLEEP)

    def watch():
        if os.path.exists("net1.runs") and os.path.exists("net2.runs"):
            raise ValueError("cannot show this")

    with pytest.raises(ValueError, match="cannot show this"):
        run(watch)
    assert children_of(os.getpid()) == []


def test_second_piece_that_cannot_start_ends_the_first(pieces, monkeypatch):
    pieces(SLEEP, SLEEP)
    real = subprocess.Popen

    def popen(command, **settings):
        if "net2" in command:
            raise OSError(12, "Cannot allocate memory")
        return real(command, **settings)

    monkeypatch.setattr(subprocess, "Popen", popen)
    with pytest.raises(StorageFailed, match="run: cannot start net2: Cannot allocate memory"):
        run()
    assert children_of(os.getpid()) == []


#: The `dualnet` command, with a `train` that launches the fake pieces.
COMMAND = """
import sys
from dualnet import cli
from dualnet.rundir import RunDir
from dualnet.training.start.launch import launch
cli.training._train = lambda options: launch(
    RunDir("run"), ("net1", "net2"), [], lambda: None, grace_s=0.5
)
sys.exit(cli.main(["train", "config.yaml"]))
"""


@pytest.mark.parametrize(
    ("number", "line"),
    [(signal.SIGTERM, "dualnet: ended by SIGTERM"), (signal.SIGINT, "dualnet: interrupted")],
)
@pytest.mark.parametrize("body", [SLEEP, STUBBORN], ids=["sleeping", "stubborn"])
def test_signal_to_the_launcher_ends_both_pieces(pieces, tmp_path, repository, number, line, body):
    pieces(body, body)
    (tmp_path / "script").mkdir()
    script = tmp_path / "script" / "command.py"  # its own folder comes before PYTHONPATH
    script.write_text(COMMAND)
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    launcher = subprocess.Popen(
        [sys.executable, str(script)], env=environment, stderr=subprocess.PIPE, text=True
    )
    try:
        wait_for(lambda: os.path.exists("net1.runs") and os.path.exists("net2.runs"))
        children = children_of(launcher.pid)
        assert len(children) == 2
        launcher.send_signal(number)
        _, errors = launcher.communicate(timeout=LIMIT_S)
    finally:
        launcher.kill()
        launcher.wait()
    assert launcher.returncode == 128 + number
    assert errors.strip() == line
    wait_for(lambda: not any(is_alive(child) for child in children))


# The real thing.


@pytest.mark.parametrize("victim", ["net1", "net2"])
def test_piece_killed_in_the_middle_of_training(dualnet, workdir, repository, victim):
    settings = ["train.max_iter=1000000", "train.display=1", "train.test_interval=0"]
    overrides = [word for setting in settings for word in ("--set", setting)]
    launcher = subprocess.Popen(
        [sys.executable, "-m", "dualnet", "train", "configs/digits.yaml", "--run-dir", "run",
         *overrides], stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        log = workdir / "run" / "net2.log"
        wait_for(lambda: log.exists() and "Iteration 3 (" in log.read_text())
        children = children_of(launcher.pid)
        (killed,) = [
            child for child in children
            if victim in Path(f"/proc/{child}/cmdline").read_text().split("\0")
        ]  # fmt: skip
        os.kill(killed, signal.SIGKILL)
        _, errors = launcher.communicate(timeout=LIMIT_S)
    finally:
        launcher.kill()
        launcher.wait()
    assert launcher.returncode == 1
    last = errors.strip().splitlines()[-1]
    assert last.startswith(f"dualnet: {victim}: ended by SIGKILL")
    assert not any(is_alive(child) for child in children)
    # The other piece noticed by itself, and said so in its own output.
    other = {"net1": "net2", "net2": "net1"}[victim]
    told = (workdir / "run" / f"{other}.out").read_text().strip().splitlines()[-1]
    assert told.startswith(f"dualnet: {victim} is gone")
