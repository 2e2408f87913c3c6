"""A net trained whole and in two halves, in one process, from the same weights."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass

import numpy as np

from dualnet import config as cfg
from dualnet.backend import caffe_pb2
from dualnet.report.log import CaffeLog
from dualnet.report.parse import parse_log
from dualnet.rundir import RunDir
from dualnet.train.loop.piece import PieceLoop
from dualnet.train.loop.session import Session
from dualnet.train.net.nets import Nets
from dualnet.train.net.resolve import resolve, write
from dualnet.train.start import handshake
from tests.train.memory_channel import Line, MemoryChannel


@dataclass
class Outcome:
    """How far apart two trainings ended.

    Attributes:
        weights: Nets and layer to |dual - single| / |single| of all its parameters.
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


@dataclass
class Reference:
    """The single net's training.

    Attributes:
        initial: A caffemodel of what it began with.
        weights: Iterations done (none and some) to layer to all its parameters, (K,) float32.
        losses: What it showed each iteration.
    """

    initial: str
    weights: dict
    losses: list


def train_single(yaml: str, run_dir: str, iterations: int, at: int, *overrides: str) -> Reference:
    """Train the YAML's single net; its weights are kept as they were after `at` iterations."""
    os.makedirs(run_dir, exist_ok=True)
    half = _half("single", cfg.load(yaml, [*_quiet(iterations), *overrides]), run_dir)
    initial = os.path.join(run_dir, "initial.caffemodel")
    half.train.net.save(initial)
    weights = {0: _weights(half)}
    with CaffeLog(os.path.join(run_dir, "single.log"), half.resolved.display) as log:
        session = Session(half, log)
        session.on_progress = lambda done: weights.update(
            {at: _weights(half)} if done == at else {}
        )
        PieceLoop(half, session).run()
    return Reference(initial, weights, _losses(run_dir, "single"))


def train_from_last_bits(
    reference: Reference, yaml: str, run_dir: str, iterations: int, at: int, *overrides: str
) -> float:
    """Train the single net with the last bit of each weight changed.

    Returns:
        The largest difference that a layer's parameters end with, relative to the way they went:
        what rounding alone makes of this net.
    """
    os.makedirs(run_dir, exist_ok=True)
    net = caffe_pb2.NetParameter()
    with open(reference.initial, "rb") as file:
        net.ParseFromString(file.read())
    draw = np.random.RandomState(5)
    for layer in net.layer:
        for blob in layer.blobs:
            values = np.array(blob.data, np.float32)
            up = draw.randint(0, 2, values.shape).astype(bool)
            blob.data[:] = np.nextafter(values, np.where(up, np.inf, -np.inf), dtype=np.float32)
    path = os.path.join(run_dir, "changed.caffemodel")
    with open(path, "wb") as file:
        file.write(net.SerializeToString())
    changed = train_single(yaml, run_dir, iterations, at, f"train.weights=[{path}]", *overrides)
    distances = []
    for layer, values in reference.weights[at].items():
        way = np.linalg.norm(values - reference.weights[0][layer])
        if way > 0:
            distances.append(float(np.linalg.norm(changed.weights[at][layer] - values) / way))
    return max(distances)


def train_like(
    reference: Reference, yaml: str, run_dir: str, iterations: int, at: int, *overrides: str
) -> Outcome:
    """Train both halves from the same weights and compare after `at` iterations."""
    os.makedirs(run_dir, exist_ok=True)
    settings = [*_quiet(iterations), f"train.weights=[{reference.initial}]", *overrides]
    config = cfg.load(yaml, settings)
    halves = _run_both(config, run_dir, at)
    copies = dict(config.cut.dual)
    weights, steps = {}, {}
    for layer, values in reference.weights[at].items():
        found = 0
        for role, name in (("net1", layer), ("net2", copies.get(layer, layer))):
            if name in halves[role]:
                found += 1
                difference = np.linalg.norm(halves[role][name] - values)
                way = np.linalg.norm(values - reference.weights[0][layer])
                weights[f"{role} {layer}"] = float(difference / np.linalg.norm(values))
                if way > 1e-6 * np.linalg.norm(values):  # else rounding alone is compared
                    steps[f"{role} {layer}"] = float(difference / way)
        assert found == 1 + (layer in copies), f"{layer} is in {found} halves"
    return Outcome(weights, steps, reference.losses, _losses(run_dir, "net2"))


def train_whole_and_halved(yaml: str, run_dir: str, iterations: int, *overrides: str) -> Outcome:
    """Train the YAML's single net, then both halves from the same weights, and compare."""
    reference = train_single(yaml, run_dir, iterations, iterations, *overrides)
    return train_like(reference, yaml, run_dir, iterations, iterations, *overrides)


def train_halves(yaml: str, run_dir: str, *overrides: str) -> None:
    """Train both halves."""
    os.makedirs(run_dir, exist_ok=True)
    _run_both(cfg.load(yaml, list(overrides)), run_dir, 0)


def _quiet(iterations: int) -> list:
    return [
        f"train.max_iter={iterations}",
        "train.test_interval=0",
        "train.display=1",
        "train.snapshot=0",
    ]


def _half(role: str, config: cfg.Config, run_dir: str) -> Nets:
    resolved = resolve(config, RunDir(run_dir).piece(role))
    write(resolved)
    half = Nets(config, resolved)
    half.copy_weights()
    return half


def _run_both(config: cfg.Config, run_dir: str, at: int) -> dict:
    """Run both loops in two threads; returns role to weights after `at` iterations."""
    halves = {role: _half(role, config, run_dir) for role in ("net1", "net2")}
    line, errors, weights = Line(), [], {}

    def run(role: str) -> None:
        half = halves[role]

        def look(done: int) -> None:
            if done == at:
                weights[role] = _weights(half)

        try:
            log = CaffeLog(half.resolved.dir.log, half.resolved.display)
            with log, MemoryChannel(role, line, timeout_s=600) as channel:
                session = Session(half, log)
                session.on_progress = look
                (end,) = half.resolved.ends
                hello = handshake.describe(half, session, end)
                handshake.check(hello, channel.handshake(hello), end)
                side = "above" if end.is_lower else "below"
                PieceLoop(half, session, **{side: channel}).run()
        except BaseException as error:  # handed to the caller
            errors.append(error)

    threads = [threading.Thread(target=run, args=(role,), daemon=True) for role in ("net1", "net2")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return weights


def _weights(half: Nets) -> dict:
    """Layer to a copy of all its parameters, (K,) float32."""
    return {
        layer: np.concatenate([np.array(blob.data, np.float32).ravel() for blob in blobs])
        for layer, blobs in half.train.net.params.items()
    }


def _losses(run_dir: str, role: str) -> list:
    rows = parse_log(os.path.join(run_dir, f"{role}.log")).train
    return [row.loss for row in sorted(rows, key=lambda row: row.iteration)]
