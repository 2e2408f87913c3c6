"""Training over every carrier, in fewer bits, with pieces that die on the way."""

from __future__ import annotations

import shutil
import socket
import threading
from pathlib import Path

import pytest

from dualnet.rundir import RunDir
from dualnet.training.checkpoint import commit
from dualnet.training.start import run as run_module
from tests.training.pieces import load
from tests.training.test_restart import SHORT, equal, run, run_chain

FEEDBACK = ("exchange.dtype=int8", "exchange.dtype_down=float16", "exchange.error_feedback=true")


@pytest.fixture(autouse=True)
def one_by_one(monkeypatch):
    """Builds one net at a time: Caffe's random numbers belong to the process."""
    lock, real = threading.Lock(), run_module.Nets

    def build(config, resolved):
        with lock:
            return real(config, resolved)

    monkeypatch.setattr(run_module, "Nets", build)


def test_tcp_trains_what_files_train(workdir):
    run_chain("files", *SHORT)
    run_chain("tcp", *SHORT, "exchange.carrier=tcp")
    equal("files", "tcp")
    assert not list(Path("tcp/exchange").rglob("*.npy"))


def test_crashes_over_tcp_change_nothing(workdir):
    run_chain("whole", *SHORT, "exchange.carrier=tcp")
    run_chain("parts", *SHORT, "exchange.carrier=tcp", net1=(1, 6, 9), net2=(1, 7))
    equal("whole", "parts")
    for name in ("net1", "net2"):
        assert commit.complete(RunDir("parts").piece(name))
    assert "messages sent again, equal to the bit" in Path("parts/net1.log").read_text()


@pytest.mark.parametrize("carrier", ["files", "tcp"])
def test_crashes_in_fewer_bits_change_nothing(workdir, carrier):
    """Error feedback goes on from the checkpoint's residual, or the replay would differ."""
    settings = (*SHORT, *FEEDBACK, f"exchange.carrier={carrier}")
    run_chain("whole", *settings)
    run_chain("parts", *settings, net1=(1, 6, 9), net2=(1, 7))
    equal("whole", "parts")
    log = Path("parts/net1.log").read_text()
    assert "messages sent again, equal to the bit" in log
    assert list(Path("whole").glob("net1_iter_*.exchange.npz"))


def run_apart(*overrides, **crashes):
    """Train each piece in a directory of its own, as on two nodes without a common file system."""
    errors = []
    threads = [
        threading.Thread(
            target=run,
            args=(load(*overrides), name, name, list(crashes[name]), errors),
            daemon=True,
        )
        for name in ("net1", "net2")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def test_pieces_without_a_directory_in_common(workdir):
    """They share the secret alone, which people copy, and go on when old messages are deleted."""
    run_chain("whole", *SHORT)
    for name in ("net1", "net2"):
        Path(name, "exchange").mkdir(parents=True, mode=0o700)
        secret = Path(name, "exchange", "secret")
        secret.write_text("5" * 64 + "\n")
        secret.chmod(0o600)
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{bound.getsockname()[1]}"
    settings = (
        *SHORT,
        "exchange.carrier=tcp",
        f"exchange.address={address}",
        "exchange.restart_grace_s=15",
    )
    run_apart(*settings, net1=(9,), net2=(10,))
    run_apart(*settings, "train.max_iter=13", net1=(), net2=(12,))
    run_chain("whole", *SHORT, "train.max_iter=13")
    assert not list(Path("net1").glob("net2_*")) and not list(Path("net2").glob("net1_*"))
    for path in Path("net2").glob("net2*"):
        shutil.copy(path, "net1")
    equal("whole", "net1")


def test_the_log_says_how_many_bytes(workdir):
    run_chain("run", *SHORT, "train.test_interval=0", "exchange.dtype=int8", "coupling.tie=never")
    log = Path("run/net1.log").read_text()
    (line,) = [line for line in log.splitlines() if "Exchange over net1-net2: per" in line]
    words = line.split()
    sent = int(words[words.index("bytes") - 1])
    whole = int(line.split("(")[1].split()[0])
    assert whole / 4 < sent < whole / 3
