"""Processes that users' code forks: without what is ours, and not longer there than we are."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import textwrap

import pytest

from dualnet.children import close_in_children, undo_in_children
from dualnet.errors import Superseded
from dualnet.exchange.run.lease import NodeLock
from dualnet.fs import Fs
from dualnet.process.stopping import STOP_SIGNALS, Stopper
from tests.processes import is_alive, wait_for


@pytest.fixture
def fork():
    """Forks a child that does something and then waits; all are ended in the end."""
    pids = []

    def make(do=lambda: None):
        given, told = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.close(given)
                os.write(told, repr(do()).encode())
                while True:
                    signal.pause()
            finally:
                os._exit(9)
        os.close(told)
        with os.fdopen(given, "rb") as file:
            answer = file.read(1 << 12) if pids.append(pid) else file.read1(1 << 12)
        return pid, answer.decode()

    yield make
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            continue


def ended_by(pid):
    """The signal that ended a child."""
    return os.WTERMSIG(os.waitpid(pid, 0)[1])


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_our_signals_end_a_forked_child(fork, number):
    with Stopper(5.0) as stopper:
        pid, _ = fork()
        os.kill(pid, number)
        assert ended_by(pid) == number
        assert not stopper.requested
        # Ours stay as they are here.
        assert signal.getsignal(number) == stopper._on_signal


def test_handlers_of_the_users_own_stay_in_a_forked_child(fork):
    def own(number, frame):
        pass

    with Stopper(5.0):
        ours = signal.signal(signal.SIGUSR1, own)
        _, found = fork(lambda: signal.getsignal(signal.SIGUSR1) is own)
        signal.signal(signal.SIGUSR1, ours)
    assert found == "True"


def test_multiprocessing_can_terminate_what_it_started_by_fork():
    with Stopper(5.0):
        process = multiprocessing.get_context("fork").Process(target=signal.pause)
        process.start()
        process.terminate()
        process.join(60)
    assert process.exitcode == -signal.SIGTERM


def test_a_forked_child_does_not_keep_the_lock_of_a_piece(fork, tmp_path):
    first = NodeLock(Fs(), str(tmp_path), "run", "net1")
    fork()
    with pytest.raises(Superseded):
        NodeLock(Fs(), str(tmp_path), "run", "net1")
    # What the kernel does when the piece is killed.
    os.close(first._fd)
    first._fd = None
    NodeLock(Fs(), str(tmp_path), "run", "net1").release()


def test_a_forked_child_does_not_keep_a_connection(fork):
    ours, theirs = socket.socketpair()
    close_in_children(ours)
    fork()
    ours.close()
    theirs.settimeout(60)
    assert theirs.recv(1) == b""
    theirs.close()


def test_what_is_undone_in_children_is_not_kept_and_can_be_taken_back(fork):
    class Owner:
        def undo(self):
            os.environ["DUALNET_TEST_UNDONE"] = os.environ.get("DUALNET_TEST_UNDONE", "") + "x"

    def undone():
        return os.environ.get("DUALNET_TEST_UNDONE", "")

    owner, gone = Owner(), Owner()
    forget = undo_in_children(owner.undo)
    undo_in_children(gone.undo)
    del gone
    assert fork(undone)[1] == "'x'"
    forget()
    assert fork(undone)[1] == "''" and undone() == ""


# Ends, each in a process of its own that says which children it has.

_SCRIPT = """
import multiprocessing, os, signal, subprocess, sys, threading, time
from dualnet import children
children.adopt()
context = multiprocessing.get_context("fork")

def forever(told=None):
    if told is not None:
        told.put(os.getpid())
    while True:
        signal.pause()

def stubborn(told):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    forever(told)

"""


@pytest.fixture
def start():
    """Starts a script; ends it, whatever the test does."""
    made = []

    def start(body):
        made.append(subprocess.Popen(
            [sys.executable, "-c", _SCRIPT + textwrap.dedent(body)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        ))  # fmt: skip
        return made[-1]

    yield start
    for process in made:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def pids_of(process):
    return [int(word) for word in process.stdout.readline().split()]


#: What users' code may leave; each says its pids.
LEFT = {
    "process": """
        q = context.Queue()
        context.Process(target=forever, args=(q,)).start()
        print(q.get(), flush=True)
        """,
    "daemon": """
        q = context.Queue()
        context.Process(target=forever, args=(q,), daemon=True).start()
        print(q.get(), flush=True)
        """,
    "grandchild": """
        q = context.Queue()
        def middle(q):
            context.Process(target=forever, args=(q,)).start()
            forever(q)
        context.Process(target=middle, args=(q,)).start()
        print(q.get(), q.get(), flush=True)
        """,
    "pool": """
        pool = context.Pool(2)
        print(*{one.pid for one in context.active_children()}, flush=True)
        pool.apply_async(time.sleep, (1000,))
        """,
    "bare fork": """
        pid = os.fork()
        if not pid:
            forever()
        print(pid, flush=True)
        """,
}
EXECED = {
    "popen": """
        print(subprocess.Popen(["sleep", "1000"]).pid, flush=True)
        """,
    "spawn": """
        process = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
        print(process.pid, flush=True)
        """,
}


@pytest.mark.parametrize("kind", [*LEFT, *EXECED])
def test_nothing_is_left_when_we_end(start, kind):
    body = textwrap.dedent({**LEFT, **EXECED}[kind])
    process = start(body + "children.watch_exit(3, print)\nsys.exit(3)")
    pids = pids_of(process)
    assert process.wait(60) == 3, process.stderr.read()
    wait_for(lambda: not any(map(is_alive, pids)))
    assert pids and process.communicate() == ("", "")


@pytest.mark.parametrize("kind", LEFT)
def test_nothing_is_left_when_we_are_killed(start, kind):
    process = start(textwrap.dedent(LEFT[kind]) + "forever()")
    pids = pids_of(process)
    process.kill()
    wait_for(lambda: not any(map(is_alive, pids)))
    assert pids


def test_users_exit_handlers_come_before_their_children_are_ended(start):
    process = start("""
        import atexit
        q = context.Queue()
        child = context.Process(target=forever, args=(q,))
        child.start()
        q.get()
        atexit.register(lambda: print("alive", child.is_alive(), flush=True))
        children.watch_exit(0, print)
        """)
    assert process.communicate(timeout=60)[0] == "alive True\n"


def test_what_does_not_heed_sigterm_is_killed(start):
    process = start("""
        q = context.Queue()
        children._GRACE_S = 0.1
        context.Process(target=stubborn, args=(q,)).start()
        print(q.get(), flush=True)
        """)
    (pid,) = pids_of(process)
    assert process.wait(60) == 0
    wait_for(lambda: not is_alive(pid))


def test_threads_of_users_do_not_keep_us(start):
    process = start("""
        threading.Thread(target=time.sleep, args=(1000,), name="loader").start()
        children.watch_exit(7, lambda line: print(line, flush=True), 0.1)
        sys.exit(7)
        """)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 7
    assert said.count("\n") == 1 and "threads (loader) of the net's layers go on" in said
