"""The accuracy of what a run has trained, on its test set, in one process."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Callable, Optional

from dualnet.backend import caffe
from dualnet.config import Config
from dualnet.cut.graph import NetGraph, read_net, read_solver, solver_states
from dualnet.cut.upstream import last_maker
from dualnet.errors import UsageError
from dualnet.rundir import RunDir
from dualnet.train.checkpoint import caffe_files
from dualnet.train.loop.net1 import batch_of
from dualnet.train.net.driver import NetDriver, Output, net_state

__all__ = ["evaluate"]


def evaluate(
    run: RunDir,
    config: Config,
    iteration: Optional[int] = None,
    batches: Optional[int] = None,
    progress: Optional[Callable[[int, int], None]] = None,
) -> dict[str, Any]:
    """Run the test phase of a run's latest snapshot.

    The halves of a dual run are joined in memory: net1 up to the cut, net2 from there. It runs on
    the CPU, as the machine on which people look at results may have no GPU.

    Args:
        run: The run.
        config: Its config.
        iteration: A snapshot's iteration; default the latest.
        batches: Test batches; default the solver's test_iter.
        progress: Called with (batches done, batches in all).

    Returns:
        {"accuracy", "loss", "samples", "iteration"} and any further test outputs by name; numbers
        are as they come, infinite ones too (`strict_json.to_json` writes them down).
    """
    if batches is not None and batches < 1:
        raise UsageError(f"--batches {batches}: at least one test batch is needed")
    number, pieces = caffe_files.find(run, iteration)
    solvers = {piece.name: read_solver(piece.solver) for piece in pieces}
    states = {name: solver_states(solver).get("TEST") for name, solver in solvers.items()}
    graphs = {
        piece.name: NetGraph(read_net(piece.net), "TEST", piece.net, states[piece.name])
        for piece in pieces
    }
    last = pieces[-1].name
    if batches is None:
        solver = solvers[last]
        if not solver.test_iter:
            raise UsageError(f"{run}: its solver has no test_iter; say how many --batches")
        batches = int(solver.test_iter[0])
    nets = {
        piece.name: NetDriver(
            caffe.Net(
                piece.net,
                caffe.TEST,
                weights=piece.at(number).weights,
                **net_state(states[piece.name]),
            ),
            piece.net,
        )
        for piece in pieces
    }
    sums: dict[str, tuple[float, float]] = {}
    samples = 0
    for number_done in range(1, batches + 1):
        outputs, size = _batch(nets, graphs, config)
        samples += size
        for name, values, weight in outputs:
            total, _ = sums.get(name, (0.0, weight))
            sums[name] = (total + float(values.mean()), weight)
        if progress is not None:
            progress(number_done, batches)
    means = {name: total / batches for name, (total, _) in sums.items()}
    # Without what has no weight: 0 times infinity is not a number.
    loss = sum(weight * means[name] for name, (_, weight) in sums.items() if weight)
    named = accuracy_output(graphs[last], means)
    result = {"accuracy": means[named] if named else None, "loss": loss, "samples": samples}
    return {**result, **means, "loss": loss, "iteration": number}


def accuracy_output(graph: NetGraph, outputs: Collection[str]) -> Optional[str]:
    """The output that counts as the accuracy: of that name, else of the last top-1 Accuracy layer.

    GoogLeNet's main classifier comes after its auxiliary ones.
    """
    if "accuracy" in outputs:
        return "accuracy"
    found = [
        str(layer.top[0])
        for layer in graph.layers
        if layer.type == "Accuracy" and layer.accuracy_param.top_k == 1 and layer.top[0] in outputs
    ]
    return found[-1] if found else None


def _batch(
    nets: dict[str, NetDriver], graphs: dict[str, NetGraph], config: Config
) -> tuple[list[Output], int]:
    """The outputs of the next test batch, and its number of samples."""
    if "single" in nets:
        net = nets["single"]
        net.forward()
        # A batch may be smaller than its layer says, and a Python layer says nothing.
        tops = [top for layer in graphs["single"].layers if not layer.bottom for top in layer.top]
        return net.outputs(), len(net.data(tops[0]))
    net1, net2 = nets["net1"], nets["net2"]
    graph = graphs["net1"]
    net1.forward(last=last_maker(graph, config.cut.blobs))
    net2.feed(batch_of(net1, config.cut.blobs, config.cut.labels))
    net2.forward()
    return net2.outputs(), len(net1.data(config.cut.blobs[0]))
