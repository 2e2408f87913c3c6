"""A net trained whole and in pieces, in one process, from the same weights."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from dataclasses import dataclass

import numpy as np

from dualnet import config as cfg
from dualnet.backend import caffe_pb2
from dualnet.training.net.nets import Nets
from tests.training.chain import original_names, train_chain


@dataclass
class Outcome:
    """How far apart two trainings ended.

    Attributes:
        weights: Nets and layer to |dual - single| / |single| of all its parameters.
        steps: The same relative to |single - start|, the way that training went: what is missing
            of a gradient shows here whatever the learning rate. Layers that stood still are left
            out.
        losses, dual_losses: What the single net showed each iteration, and the last piece.
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
    initial = os.path.join(run_dir, "initial.caffemodel")
    weights = {}

    def watch(nets: Nets, done: int) -> None:
        if done == 0:
            nets.train.net.save(initial)
        if done in (0, at):
            weights[done] = _weights(nets)

    config = cfg.load(yaml, [*_quiet(iterations), *overrides])
    alone = dataclasses.replace(config, pieces=(config.single,), cuts=())
    trained = train_chain(alone, run_dir, watch)
    return Reference(initial, weights, trained.losses["single"])


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
    """Train the pieces from the same weights and compare after `at` iterations."""
    settings = [*_quiet(iterations), f"train.weights=[{reference.initial}]", *overrides]
    config = cfg.load(yaml, settings)
    found: dict = {}

    def watch(nets: Nets, done: int) -> None:
        if done == at:
            found[nets.name] = _weights(nets)

    trained = train_chain(config, run_dir, watch)
    names = original_names(config)
    weights, steps = {}, {}
    missing = Counter(list(reference.weights[at]))
    missing.update(layer for cut in config.cuts for layer in cut.dual if layer in missing)
    for piece in config.names:
        for name, own in found[piece].items():
            layer = names.get((piece, name), name)
            if layer not in reference.weights[at]:
                continue  # it was put in to have Caffe compute a gradient
            missing[layer] -= 1
            values, start = reference.weights[at][layer], reference.weights[0][layer]
            difference, way = np.linalg.norm(own - values), np.linalg.norm(values - start)
            weights[f"{piece} {layer}"] = float(difference / np.linalg.norm(values))
            if way > 1e-6 * np.linalg.norm(values):  # else rounding alone is compared
                steps[f"{piece} {layer}"] = float(difference / way)
    assert not any(missing.values()), missing
    return Outcome(weights, steps, reference.losses, trained.losses[config.names[-1]])


def train_whole_and_cut(yaml: str, run_dir: str, iterations: int, *overrides: str) -> Outcome:
    """Train the YAML's single net, then its pieces from the same weights, and compare."""
    reference = train_single(yaml, run_dir, iterations, iterations, *overrides)
    return train_like(reference, yaml, run_dir, iterations, iterations, *overrides)


def train_pieces(yaml: str, run_dir: str, *overrides: str) -> None:
    """Train the pieces."""
    train_chain(cfg.load(yaml, list(overrides)), run_dir)


def _quiet(iterations: int) -> list:
    return [
        f"train.max_iter={iterations}",
        "train.test_interval=0",
        "train.display=1",
        "train.snapshot=0",
    ]


def _weights(nets: Nets) -> dict:
    """Layer to a copy of all its parameters, (K,) float32."""
    return {
        layer: np.concatenate([np.array(blob.data, np.float32).ravel() for blob in blobs])
        for layer, blobs in nets.train.net.params.items()
    }
