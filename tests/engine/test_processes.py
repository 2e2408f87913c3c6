"""Programs on the engine that start processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from dualnet.engine.signals import SignalActions

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
    with SignalActions() as actions:
        pid = os.fork()
        if pid == 0:
            try:
                signal.pause()
            finally:
                os._exit(9)
        os.kill(pid, signal.SIGHUP)
        assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGHUP
        assert actions() == "none"
