"""Programs on the engine that start processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

from dualnet.engine.command.signals import SignalActions

SPAWN = """
import multiprocessing
import caffe

def work(told):
    import caffe
    told.put(caffe.layer_type_list().index("Convolution"))

if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    told = context.Queue()
    process = context.Process(target=work, args=(told,))
    process.start()
    print(told.get(timeout=60) == caffe.layer_type_list().index("Convolution"))
    process.join()
"""


def test_a_spawned_process_finds_caffe(tmp_path, repository):
    (tmp_path / "program.py").write_text(SPAWN)
    done = subprocess.run(
        [sys.executable, "-m", "dualnet.engine", "program.py"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120,
        env={**os.environ, "PYTHONPATH": str(repository)},
    )  # fmt: skip
    assert (done.stdout, done.returncode) == ("True\n", 0), done.stderr


def test_a_forked_process_does_not_heed_signals_for_the_solver():
    reads, writes = os.pipe()
    with SignalActions() as actions:
        pid = os.fork()
        if pid == 0:
            try:
                # Python drops what comes before a fork is complete, and pause() misses what comes
                # just before it.
                os.write(writes, b".")
                for _ in range(300):
                    time.sleep(0.1)
            finally:
                os._exit(9)
        os.read(reads, 1)
        os.kill(pid, signal.SIGHUP)
        assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGHUP
        assert actions() == "none"
    os.close(reads)
    os.close(writes)


# Nets in forked processes. Each program is one process, as its OpenMP threads are its own.

FORK = """
import multiprocessing, sys
import numpy as np
import torch
import caffe

def report(told, net):
    told.put([float(np.abs(blob).sum()) for blob in net.forward().values()])

def in_fork(work, *arguments):
    context = multiprocessing.get_context("fork")
    told = context.Queue()
    process = context.Process(target=work, args=(told, *arguments))
    process.start()
    try:
        return told.get(timeout=30)
    finally:
        process.kill()
        process.join()
"""

CONV = """
open("net.prototxt", "w").write('''
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 8 dim: 16 dim: 32 dim: 32 } } }
layer { name: "c" type: "Convolution" bottom: "x" top: "c" convolution_param {
  num_output: 32 kernel_size: 3 weight_filler { type: "gaussian" std: 0.1 } } }
layer { name: "r" type: "ReLU" bottom: "c" top: "r" }
layer { name: "l" type: "InnerProduct" bottom: "r" top: "l" inner_product_param {
  num_output: 5 weight_filler { type: "xavier" } } }
''')
def build():
    caffe.set_random_seed(1)
    net = caffe.Net("net.prototxt", caffe.TRAIN)
    net.blobs["x"].data[...] = np.random.RandomState(0).randn(8, 16, 32, 32)
    return net
"""


def answer(folder, repository, body):
    (folder / "program.py").write_text(FORK + body)
    done = subprocess.run(
        [sys.executable, "-m", "dualnet.engine", "program.py"],
        cwd=folder, capture_output=True, text=True, timeout=120,
        env={**os.environ, "PYTHONPATH": str(repository), "OMP_NUM_THREADS": "2"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.split()


def test_a_net_runs_in_a_forked_process_after_one_of_the_parent(tmp_path, repository):
    """A net of the child's own, one that the parent has built, and a training step."""
    body = (
        CONV
        + """
net = build()
expected = float(np.abs(net.forward()["l"]).sum())
net.backward()
def own(told):
    report(told, build())
def inherited(told):
    net.backward()
    report(told, net)
def threads(told):
    told.put([torch.get_num_threads()])
for work in (own, inherited, threads):
    print(*in_fork(work))
print(expected, torch.get_num_threads())
"""
    )
    own, inherited, threads, expected, left = map(float, answer(tmp_path, repository, body))
    # Sums in another order: one thread there, two here.
    assert own == inherited and abs(own - expected) < 1e-4 * expected
    assert (threads, left) == (1, 2)


def test_a_forked_process_whose_parent_ran_none_keeps_its_threads(tmp_path, repository):
    body = (
        CONV
        + """
def threads(told):
    told.put([torch.get_num_threads()])
print(*in_fork(threads))
"""
    )
    assert answer(tmp_path, repository, body) == ["2"]


def test_data_go_on_in_a_forked_process(tmp_path, repository, digits_directory):
    """Prefetching and the database are the parent's; the batch is the one that comes next."""
    body = f"""
open("net.prototxt", "w").write('''
layer {{ name: "d" type: "Data" top: "x" top: "label"
  data_param {{ source: "{digits_directory}/train_lmdb" batch_size: 5 backend: LMDB }} }}
layer {{ name: "p" type: "Power" bottom: "x" top: "p" }}
''')
net = caffe.Net("net.prototxt", caffe.TRAIN)
for _ in range(3):
    net.forward()
def three(told):
    told.put([net.forward() and float(net.blobs["p"].data.sum()) for _ in range(3)])
print(*in_fork(three))
print(*[net.forward() and float(net.blobs["p"].data.sum()) for _ in range(3)])
"""
    found = answer(tmp_path, repository, body)
    assert len(found) == 6 and found[:3] == found[3:] and len(set(found)) == 3
