"""A net trained whole and in two halves, in one process, from the same weights."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass

import numpy as np

from dualnet import config as cfg
from dualnet.report.log import CaffeLog
from dualnet.report.parse import parse_log
from dualnet.train import handshake
from dualnet.train.half import Half
from dualnet.train.net1 import Net1
from dualnet.train.net2 import Net2
from dualnet.train.resolve import resolve, write
from dualnet.train.session import Session
from dualnet.train.single import Single
from tests.train.memory_channel import Line, MemoryChannel


@dataclass
class Outcome:
    """How far apart two trainings ended.

    Attributes:
        weights: Half and layer to |dual - single| / |single| of all its parameters.
        steps: The same relative to |single - start|, the way that training went: what is missing
            of a gradient shows here whatever the learning rate. Layers that stood still are left
            out.
        losses, dual_losses: What the single net showed each iteration, and both halves together.
    """

    weights: dict
    steps: dict
    losses: list
    dual_losses: list

    @property
    def weight(self) -> float:
        """The largest relative difference of a layer's parameters."""
        return max(self.weights.values())

    @property
    def step(self) -> float:
        """The largest difference of a layer's parameters relative to the way that they went."""
        return max(self.steps.values())


def train_whole_and_halved(yaml: str, run_dir: str, iterations: int, *overrides: str) -> Outcome:
    """Train the YAML's single net, then both halves from the same weights, and compare."""
    settings = [
        f"train.max_iter={iterations}",
        "train.test_interval=0",
        "train.display=1",
        "train.snapshot=0",
        *overrides,
    ]
    os.makedirs(run_dir, exist_ok=True)
    single = _half("single", cfg.load(yaml, settings), run_dir)
    start = _weights(single)
    initial = os.path.join(run_dir, "initial.caffemodel")
    single.train.net.save(initial)
    _run_single(single, run_dir)
    trained = _weights(single)
    losses = _losses(run_dir, "single")
    del single
    config = cfg.load(yaml, [*settings, f"train.weights=[{initial}]"])
    halves = _run_both(config, run_dir)
    copies = dict(config.cut.dual)
    weights, steps = {}, {}
    for layer, values in trained.items():
        found = 0
        for role, name in (("net1", layer), ("net2", copies.get(layer, layer))):
            if name in halves[role].train.net.params:
                found += 1
                difference = np.linalg.norm(_weights(halves[role])[name] - values)
                way = np.linalg.norm(values - start[layer])
                weights[f"{role} {layer}"] = float(difference / np.linalg.norm(values))
                if way > 0:
                    steps[f"{role} {layer}"] = float(difference / way)
        assert found == 1 + (layer in copies), f"{layer} is in {found} halves"
    return Outcome(weights, steps, losses, _losses(run_dir, "net2"))


def train_halves(yaml: str, run_dir: str, *overrides: str) -> dict:
    """Train both halves; returns role to half."""
    os.makedirs(run_dir, exist_ok=True)
    return _run_both(cfg.load(yaml, list(overrides)), run_dir)


def _half(role: str, config: cfg.Config, run_dir: str) -> Half:
    resolved = resolve(config, role, run_dir)
    write(resolved)
    half = Half(config, resolved)
    half.copy_weights(config.train.weights)
    return half


def _run_single(half: Half, run_dir: str) -> None:
    with CaffeLog(os.path.join(run_dir, "single.log"), half.resolved.display) as log:
        Single(half, Session(half, log, run_dir)).run()


def _run_both(config: cfg.Config, run_dir: str) -> dict:
    halves = {role: _half(role, config, run_dir) for role in ("net1", "net2")}
    line, errors = Line(), []

    def run(role: str, loop: type) -> None:
        half = halves[role]
        try:
            log_path = os.path.join(run_dir, f"{role}.log")
            log = CaffeLog(log_path, half.resolved.display)
            with log, MemoryChannel(role, line) as channel:
                session = Session(half, log, run_dir)
                hello = handshake.describe(half, session)
                handshake.check(hello, channel.handshake(hello), config)
                loop(half, channel, session).run()
        except BaseException as error:  # handed to the caller
            errors.append(error)

    threads = [
        threading.Thread(target=run, args=pair, daemon=True)
        for pair in (("net1", Net1), ("net2", Net2))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return halves


def _weights(half: Half) -> dict:
    """Layer to a copy of all its parameters, (K,) float64."""
    return {
        layer: np.concatenate([np.array(blob.data, np.float64).ravel() for blob in blobs])
        for layer, blobs in half.train.net.params.items()
    }


def _losses(run_dir: str, role: str) -> list:
    rows = parse_log(os.path.join(run_dir, f"{role}.log")).train
    return [row.loss for row in sorted(rows, key=lambda row: row.iteration)]
