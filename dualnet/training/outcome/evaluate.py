"""The accuracy of what a run has trained, on its test set, in one process."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Callable, Optional

from dualnet.backend import caffe
from dualnet.config import Config, Cut
from dualnet.cut.graph import NetGraph, read_net, read_solver, solver_states
from dualnet.cut.upstream import last_maker
from dualnet.errors import UsageError
from dualnet.rundir import RunDir
from dualnet.training.checkpoint import caffe_files
from dualnet.training.net.crossing import batch_of
from dualnet.training.net.driver import NetDriver, Output, net_state

__all__ = ["evaluate"]


def evaluate(
    run: RunDir,
    config: Config,
    iteration: Optional[int] = None,
    batches: Optional[int] = None,
    progress: Optional[Callable[[int, int], None]] = None,
) -> dict[str, Any]:
    """Run the test phase of a run's latest snapshot.

    The pieces of a chain are joined in memory, each up to its cut. It runs on the CPU, as
    the machine on which a run is evaluated may have no GPU.

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
    solvers = [read_solver(piece.solver) for piece in pieces]
    states = [solver_states(solver).get("TEST") for solver in solvers]
    graphs = [
        NetGraph(read_net(piece.net), "TEST", piece.net, state)
        for piece, state in zip(pieces, states)
    ]
    if batches is None:
        if not solvers[-1].test_iter:
            raise UsageError(f"{run}: its solver has no test_iter; say how many --batches")
        batches = int(solvers[-1].test_iter[0])
    nets = [
        NetDriver(
            caffe.Net(piece.net, caffe.TEST, weights=piece.at(number).weights, **net_state(state)),
            piece.net,
        )
        for piece, state in zip(pieces, states)
    ]
    cuts = config.cuts if len(pieces) > 1 else ()
    sums: dict[str, tuple[float, float]] = {}
    samples = 0
    for number_done in range(1, batches + 1):
        outputs, size = _batch(nets, graphs, cuts)
        samples += size
        for name, values, weight in outputs:
            total, _ = sums.get(name, (0.0, weight))
            sums[name] = (total + float(values.mean()), weight)
        if progress is not None:
            progress(number_done, batches)
    means = {name: total / batches for name, (total, _) in sums.items()}
    # Without what has no weight: 0 times infinity is not a number.
    loss = sum(weight * means[name] for name, (_, weight) in sums.items() if weight)
    named = accuracy_output(graphs[-1], means)
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
    nets: Sequence[NetDriver], graphs: Sequence[NetGraph], cuts: Sequence[Cut]
) -> tuple[list[Output], int]:
    """The outputs of the next test batch, and its number of samples."""
    for number, (net, cut) in enumerate(zip(nets, cuts)):
        net.forward(last=last_maker(graphs[number], cut.blobs))
        nets[number + 1].feed(batch_of(net, cut))
    nets[-1].forward()
    if cuts:
        return nets[-1].outputs(), len(nets[0].data(cuts[0].blobs[0]))
    # A batch may be smaller than its layer says, and a Python layer says nothing.
    tops = [top for layer in graphs[0].layers if not layer.bottom for top in layer.top]
    return nets[0].outputs(), len(nets[0].data(tops[0]))
