"""Training over every carrier, in fewer bits, with halves that die on the way."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from dualnet.train import commit
from dualnet.train import run as run_module
from tests.train.test_restart import SHORT, equal, run_both

FEEDBACK = ("exchange.dtype=int8", "exchange.dtype_down=float16", "exchange.error_feedback=true")


@pytest.fixture(autouse=True)
def one_by_one(monkeypatch):
    """Builds one net at a time: Caffe's random numbers belong to the process."""
    lock, real = threading.Lock(), run_module.Half

    def build(config, resolved):
        with lock:
            return real(config, resolved)

    monkeypatch.setattr(run_module, "Half", build)


def test_tcp_trains_what_files_train(workdir):
    run_both("files", *SHORT)
    run_both("tcp", *SHORT, "exchange.carrier=tcp")
    equal("files", "tcp")
    assert not list(Path("tcp/exchange").glob("*.npy"))


def test_crashes_over_tcp_change_nothing(workdir):
    run_both("whole", *SHORT, "exchange.carrier=tcp")
    run_both("parts", *SHORT, "exchange.carrier=tcp", net1=(1, 6, 9), net2=(1, 7))
    equal("whole", "parts")
    for role in ("net1", "net2"):
        assert commit.complete("parts", role)
    assert "messages sent again, equal to the bit" in Path("parts/net1.log").read_text()


@pytest.mark.parametrize("carrier", ["files", "tcp"])
def test_crashes_in_fewer_bits_change_nothing(workdir, carrier):
    """Error feedback goes on from the checkpoint's residual, or the replay would differ."""
    settings = (*SHORT, *FEEDBACK, f"exchange.carrier={carrier}")
    run_both("whole", *settings)
    run_both("parts", *settings, net1=(1, 6, 9), net2=(1, 7))
    equal("whole", "parts")
    log = Path("parts/net1.log").read_text()
    assert "messages sent again, equal to the bit" in log
    assert list(Path("whole").glob("net1_iter_*.exchange.npz"))


def test_the_log_says_how_many_bytes(workdir):
    run_both("run", *SHORT, "train.test_interval=0", "exchange.dtype=int8", "coupling.tie=never")
    log = Path("run/net1.log").read_text()
    (line,) = [line for line in log.splitlines() if "Exchange: per iteration" in line]
    words = line.split()
    sent = int(words[words.index("bytes") - 1])
    whole = int(line.split("(")[1].split()[0])
    assert whole / 4 < sent < whole / 3
