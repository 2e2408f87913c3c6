"""Out of memory, in the words of Python, PyTorch and the system."""

from __future__ import annotations

import errno
import resource
import threading

import numpy as np
import pytest

from dualnet import cli
from dualnet.errors import OutOfMemory, StorageFailed
from dualnet.scarcity import disk_fault, is_scarcity, lacks_files
from dualnet.training.start import launch


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("can't start new thread"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate "
                     "memory: you tried to allocate 80000000000 bytes."),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("cannot open 'train_lmdb' as LMDB: train_lmdb: Cannot allocate memory"),
        ImportError("blake3.so: failed to map segment from shared object"),
        RuntimeError("layer conv1 cannot run forward: could not create a primitive"),
    ],
)  # fmt: skip
def test_words_for_it(error):
    assert is_scarcity(error)
    wrapped = RuntimeError("layer 'data' cannot run forward")
    wrapped.__cause__ = error
    assert is_scarcity(wrapped)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("the pieces are out of step"),
        OSError(errno.ENOSPC, "No space left on device"),
        ValueError("out of memory"),  # what a file says, say
    ],
)
def test_other_errors_are_not(error):
    assert not is_scarcity(error) and not lacks_files(error)


def test_an_array_larger_than_the_machine():
    with pytest.raises(MemoryError) as caught:
        np.empty(1 << 59, np.float32)
    assert is_scarcity(caught.value)


def test_an_error_that_hides_its_cause_is_taken_at_its_word():
    with pytest.raises(ValueError) as caught:
        try:
            raise MemoryError
        except MemoryError:
            raise ValueError("4 GiB of weights; use a smaller net") from None
    assert not is_scarcity(caught.value)


def command(monkeypatch, capsys, run):
    """What the command says and exits with whose work is `run`."""
    monkeypatch.setattr("dualnet.report.status.status", run)
    monkeypatch.setattr("dualnet.report.status.require_run", lambda run: None)
    code = cli.main(["status", "nowhere"])
    return code, capsys.readouterr().err


def test_the_command_says_it_in_one_line(monkeypatch, capsys):
    def run(*words, **options):
        raise RuntimeError("can't start new thread")

    code, said = command(monkeypatch, capsys, run)
    assert code == OutOfMemory.exit_code == 77
    assert said.count("\n") == 1 and "can't start new thread" in said and "ulimit -v" in said


def test_an_error_of_ours_that_memory_has_caused(monkeypatch, capsys):
    def run(*words, **options):
        try:
            raise OSError(errno.ENOMEM, "Cannot allocate memory")
        except OSError as error:
            raise StorageFailed("net1: Cannot allocate memory; check the disk") from error

    code, said = command(monkeypatch, capsys, run)
    assert code == 77 and "this machine has no memory left" in said and said.count("\n") == 1


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EMFILE, "Too many open files"),
        RuntimeError("cannot open 'test_lmdb' as LMDB: test_lmdb: Too many open files"),
    ],
)
def test_a_process_that_may_open_no_more_files(monkeypatch, capsys, error):
    def run(*words, **options):
        raise error

    code, said = command(monkeypatch, capsys, run)
    assert code == StorageFailed.exit_code and "ulimit -n" in said and said.count("\n") == 1


def test_a_thread_that_finds_no_room_for_its_stack(monkeypatch, capsys):
    def run(*words, **options):
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        before = threading.stack_size(1 << 29)
        with open("/proc/self/statm") as file:
            size = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + (1 << 28), hard))
        try:
            threading.Thread(target=int).start()
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
            threading.stack_size(before)

    code, said = command(monkeypatch, capsys, run)
    assert code == 77 and said.count("\n") == 1


def test_a_piece_without_memory_is_worth_another_start():
    class Ended:
        returncode = OutOfMemory.exit_code

    assert launch._may_restart(Ended())


def test_ctrl_c_within_the_reading_of_the_arguments(monkeypatch, capsys):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_parser", interrupted)
    assert cli.main(["status", "nowhere"]) == 130
    assert capsys.readouterr().err == "dualnet: interrupted\n"


def test_a_fault_of_the_disk_is_found_behind_other_words():
    lmdb = pytest.importorskip("lmdb")
    assert disk_fault(ValueError("x")) is None
    assert disk_fault(FileNotFoundError(errno.ENOENT, "No such file")) is None
    found = disk_fault(lmdb.DiskError("train_lmdb: Input/output error"))
    assert found is not None and found.errno == errno.EIO
    cause = OSError(errno.ENOSPC, "No space left on device", "run/net1.log")
    told = RuntimeError("cannot write")
    told.__cause__ = cause
    found = disk_fault(told)
    assert found is not None and found is not cause
    assert (found.errno, found.filename) == (errno.ENOSPC, "run/net1.log")
