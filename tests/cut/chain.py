"""A chain of pieces in one process: forward up, targets or gradients down, as its processes do."""

from __future__ import annotations

import os

import numpy as np

from dualnet import config as cfg
from dualnet.backend import caffe
from dualnet.coupling import make_target
from dualnet.cut.graph import NetGraph, read_net, read_solver, set_batch_size
from dualnet.cut.input_gradient import ask_for
from dualnet.cut.prototxt import format_fields
from dualnet.cut.solver_nets import net_of
from dualnet.cut.split import Request, split, write
from dualnet.cut.upstream import beyond_cut, last_maker
from dualnet.data.databases.lmdb import write_lmdb
from dualnet.training.net.crossing import batch_of
from dualnet.training.net.driver import NetDriver


class Piece:
    """One net of a chain, prepared as a run prepares it.

    Args:
        path: Its train_test prototxt.
        below, above: The cuts beside it; None at the chain's ends.
        coupling: The rule at both.
        folder: For the prepared prototxt.
        batch: Samples of a batch; None: as the prototxt says.
    """

    def __init__(self, path, below, above, coupling, folder, batch):
        self.below, self.above, self.coupling = below, above, coupling
        net = read_net(path)
        if batch:
            for layer in net.layer:
                set_batch_size(layer, batch)
        train = NetGraph(net, "TRAIN", path)
        self.has_pairs = coupling.target != "backprop"
        self.losses, self.beyond = [], []
        if above and self.has_pairs:
            for blob, sent_name in pairs(above, train).items():
                (loss,) = [n for n, one in enumerate(train.layers)
                           if {blob, sent_name} <= set(one.bottom)]  # fmt: skip
                train.layers[loss].loss_weight[:] = [1 / coupling.gamma]
                self.losses.append(loss)
        self.sent = {}
        if below:
            if self.has_pairs:
                self.sent = {sent_name: sent_name for sent_name in pairs(below, train).values()}
            ask_for(
                net, train, NetGraph(net, "TEST", path), below.blobs, self.sent.values(),
                not self.has_pairs,
            )  # fmt: skip
            added = len(NetGraph(net, "TRAIN", path).layers) - len(train.layers)
            self.losses = [loss + added for loss in self.losses]
        prepared = os.path.join(folder, os.path.basename(path))
        with open(prepared, "w", encoding="utf-8") as file:
            file.write(format_fields(net))
        self.graph = NetGraph(net, "TRAIN", path)
        self.net = NetDriver(caffe.Net(prepared, caffe.TRAIN), path)
        if above:
            self.beyond = beyond_cut(self.graph, above)

    def forward(self, arrays):
        """Take what came up; returns what goes up."""
        self.net.feed(arrays)
        if self.losses:
            self.net.forward(last=self.net.layer_before(min(self.losses)))
        elif self.above:
            self.net.forward(last=last_maker(self.graph, self.above.blobs))
            self.net.run(self.beyond)
        else:
            self.net.forward()
        return batch_of(self.net, self.above) if self.above else {}

    def backward(self, arrays):
        """Take what came down; returns what goes down."""
        if not self.above:
            self.net.backward()
        elif self.has_pairs:
            self.net.feed(arrays)
            self.net.forward(min(self.losses))
            self.net.backward()
        else:
            self.net.backward_from(arrays, self.beyond)
        if not self.below:
            return {}
        if self.has_pairs:
            answer = make_target(self.coupling, self.sent, []).make(self.net)
        else:
            answer = {blob: self.net.diff(blob) for blob in self.below.blobs}
        return {blob: values.copy() for blob, values in answer.items()}


def pairs(cut, graph):
    """The lower piece's blob to the name of what it is compared with; `graph` is either piece's."""
    if cut.compared:
        return cut.compared
    original, copy = list(cut.dual.items())[-1]
    (top,) = [one.top[0] for one in graph.layers if one.name in (original, copy)]
    return {str(top): copy}


def original_names(cuts):
    """Each dual copy to what the single net calls it."""
    names = {}
    for cut in cuts:
        names.update((copy, names.get(name, name)) for name, copy in cut.dual.items())
    return names


class Chain:
    """The pieces that a YAML names.

    Args:
        yaml: Its path.
        folder: For the prepared prototxt.
        overrides: What `--set` says.
        batch: As of `Piece`.
    """

    def __init__(self, yaml, folder, *overrides, batch=None):
        os.makedirs(folder, exist_ok=True)
        self.config = cfg.load(yaml, list(overrides))
        cuts = [None, *self.config.cuts, None]
        self.pieces = [
            Piece(net_of(read_solver(piece.solver), piece.solver).path, cuts[i], cuts[i + 1],
                  self.config.coupling_of(0), folder, batch)
            for i, piece in enumerate(self.config.pieces)
        ]  # fmt: skip

    def copy_weights(self, single):
        """Start from the single net's weights, dual copies from those of their originals."""
        for piece, layer, name in self.layers():
            for own, its in zip(piece.net.net.params[layer], single.params[name]):
                own.data[...] = its.data

    def layers(self):
        """Each piece, each of its layers with parameters, and what the single net calls it."""
        originals = original_names(self.config.cuts)
        for piece in self.pieces:
            for layer in piece.net.net.params:
                if not layer.endswith("~gradient"):
                    yield piece, layer, originals.get(layer, layer)

    def step(self):
        """One batch up and down the chain, with no update: gradients are there afterwards."""
        arrays = {}
        for piece in self.pieces:
            piece.net.net.clear_param_diffs()
            arrays = piece.forward(arrays)
        for piece in reversed(self.pieces):
            arrays = piece.backward(arrays)

    def differences(self, single):
        """Piece and layer to |its gradient - the single net's| / |the single net's|."""
        found = {}
        for piece, layer, name in self.layers():
            is_run = piece.has_pairs or not piece.above or layer not in piece.above.dual
            if is_run:
                own, its = gradient(piece.net.net, layer), gradient(single, name)
                place = f"net{self.pieces.index(piece) + 1} {layer}"
                length = float(np.linalg.norm(its)) or 1.0  # 0: a layer that does not learn
                found[place] = float(np.linalg.norm(own - its)) / length
        return found


def gradient(net, layer):
    """All of a layer's parameters' gradients, (K,) float32."""
    return np.concatenate([np.array(blob.diff, np.float32).ravel() for blob in net.params[layer]])


def cut_up(path, cuts, output="cut", force=False, **more):
    """Split a net at `(blobs, layers)` in words; returns (path of the YAML, result)."""
    request = Request(path, [(at.split(), dual.split()) for at, dual in cuts], output, **more)
    result = split(request)
    write(request, result, force)
    return result.yaml, result


def compare(path, yaml, target, batch=None, folder="run"):
    """Two batches through the single net and through the chain: the largest differences."""
    net = read_net(path)
    for layer in net.layer if batch else ():
        set_batch_size(layer, batch)
    os.makedirs(folder, exist_ok=True)
    whole = os.path.join(folder, "whole.prototxt")
    with open(whole, "w", encoding="utf-8") as file:
        file.write(format_fields(net))
    caffe.set_random_seed(3)
    single = caffe.Net(whole, caffe.TRAIN)
    chain = Chain(yaml, folder, f"coupling.target={target}", batch=batch)
    chain.copy_weights(single)
    for _ in range(2):  # what a batch leaves behind must not get into the next one
        single.clear_param_diffs()
        single.forward()
        single.backward()
        chain.step()
        differences = chain.differences(single)
        assert all(np.isfinite(list(differences.values()))), differences
    return differences


def write_images():
    """A few images of noise where the CIFAR-10 nets look for theirs."""
    images = np.random.RandomState(1).randint(0, 256, (16, 3, 32, 32)).astype(np.uint8)
    for name in ("train", "test"):
        write_lmdb(f"data/cifar10/{name}_lmdb", images, np.arange(16) % 10)
    mean = caffe.proto.caffe_pb2.BlobProto(num=1, channels=3, height=32, width=32)
    mean.data.extend([127.5] * 3072)
    with open("data/cifar10/mean.binaryproto", "wb") as file:
        file.write(mean.SerializeToString())
