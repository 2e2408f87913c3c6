"""Runs to report on."""

from __future__ import annotations

import signal

import numpy as np
import pytest

from dualnet.config import from_dict
from dualnet.report.log import CaffeLog


@pytest.fixture(autouse=True)
def signals():
    """The command takes the stop signals; the tests give them back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def matplotlib():
    """matplotlib; skips where it cannot be imported, as Debian's when it is not below /usr."""
    try:
        import matplotlib
    except (ImportError, OSError, RuntimeError) as error:
        pytest.skip(f"matplotlib cannot be imported: {error}")
    return matplotlib


@pytest.fixture
def make_run(tmp_path):
    """Return a function that writes a run directory with logs of made-up curves."""

    def make(name, pieces=("net1", "net2"), coupling=None, count=40, diverges_at=None, scale=1.0):
        directory = tmp_path / name
        directory.mkdir(parents=True)
        if coupling is not None:
            (directory / "config.yaml").write_text(from_dict({"coupling": coupling}).to_yaml())
        for piece in pieces:
            with CaffeLog(directory / f"{piece}.log") as log:
                log.solving(name)
                for k in range(count):
                    loss = scale * (2 + np.sin(k)) / (k + 1)
                    if piece in pieces[:-1]:
                        loss /= 2  # a coupling loss
                    if diverges_at is not None and k >= diverges_at:
                        loss = np.nan
                    log.training(k, loss, {"loss": loss, "norm": k / 7}, 0.01)
                    if (piece == "single" or piece == pieces[-1] != "net1") and k % 10 == 0:
                        log.testing(k, {"accuracy": 1 - 1 / (k + 2), "loss": loss})
        return directory

    return make


@pytest.fixture
def figure(matplotlib, monkeypatch):
    """The figure last drawn, as matplotlib's object."""
    from matplotlib.figure import Figure

    drawn = []
    save = Figure.savefig

    def spy(self, *arguments, **options):
        drawn.append(self)
        return save(self, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", spy)
    return lambda: drawn[-1]
