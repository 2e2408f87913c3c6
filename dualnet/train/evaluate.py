"""The accuracy of what a run has trained, on its test set, in one process."""

from __future__ import annotations

from typing import Any, Callable, Optional

from dualnet.backend import caffe
from dualnet.config import Config
from dualnet.cut.graph import NetGraph, batch_size_of, read_net, read_solver
from dualnet.errors import UsageError
from dualnet.train import checkpoint
from dualnet.train.driver import NetDriver, Output
from dualnet.train.net1 import batch_of

__all__ = ["evaluate"]


def evaluate(
    run_dir: str,
    config: Config,
    iteration: Optional[int] = None,
    batches: Optional[int] = None,
    progress: Optional[Callable[[int, int], None]] = None,
) -> dict[str, Any]:
    """Run the test phase of a run's latest snapshot.

    The halves of a dual run are joined in memory: net1 up to the cut, net2 from there. It runs on
    the CPU, as the machine on which people look at results may have no GPU.

    Args:
        run_dir: The run.
        config: Its config.
        iteration: A snapshot's iteration; default the latest.
        batches: Test batches; default the solver's test_iter.
        progress: Called with (batches done, batches in all).

    Returns:
        {"accuracy", "loss", "samples", "iteration"} and any further test outputs by name.
    """
    if batches is not None and batches < 1:
        raise UsageError(f"--batches {batches}: at least one test batch is needed")
    number, models = checkpoint.find(run_dir, iteration)
    roles = checkpoint.roles_of(run_dir)
    paths = {role: f"{run_dir}/{role}_train_test.prototxt" for role in roles}
    graphs = {role: NetGraph(read_net(paths[role]), "TEST", paths[role]) for role in roles}
    if batches is None:
        solver = read_solver(f"{run_dir}/{roles[-1]}_solver.prototxt")
        if not solver.test_iter:
            raise UsageError(f"{run_dir}: its solver has no test_iter; say how many --batches")
        batches = int(solver.test_iter[0])
    nets = {
        role: NetDriver(caffe.Net(paths[role], caffe.TEST, weights=models[role]), paths[role])
        for role in roles
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
    loss = sum(weight * means[name] for name, (_, weight) in sums.items())
    result = {"accuracy": means.get("accuracy"), "loss": loss, "samples": samples}
    return {**result, **means, "loss": loss, "iteration": number}


def _batch(
    nets: dict[str, NetDriver], graphs: dict[str, NetGraph], config: Config
) -> tuple[list[Output], int]:
    """The outputs of the next test batch, and its number of samples."""
    if "single" in nets:
        nets["single"].forward()
        sizes = [batch_size_of(layer) for layer in graphs["single"].layers]
        return nets["single"].outputs(), next(size for size in sizes if size)
    net1, net2 = nets["net1"], nets["net2"]
    graph = graphs["net1"]
    last = max((graph.producers[b][-1].name for b in config.cut.blobs), key=graph.index)
    net1.forward(last=last)
    net2.feed(batch_of(net1, config.cut.blobs, config.cut.labels))
    net2.forward()
    return net2.outputs(), len(net1.data(config.cut.blobs[0]))
