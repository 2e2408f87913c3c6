"""One timed process of plain PyTorch: `python -m dualnet.engine.bench.stage SPEC`.

It trains the hand-written net of plain.py, either the whole of it or one of the stages that
torch.distributed.pipelining makes of it, over gloo. The whole net and the first stage read their
images through the engine's Data layer, which prefetches them.

SPEC is JSON: schedule (`plain`, `GPipe` or `1F1B`), micro (the number of micro-batches), rank,
cuts (the last layers of all stages but the last), cores, threads, batch, net (a prototxt of a Data
layer), labels (an .npy file of all labels, for the last stage), iterations, warm_up, address and
port of the first stage, card (the network card), group (the file of a control group that it writes
itself into after the first iteration; empty: none) and out, the file that gets the time and the
processor time of an iteration in seconds, as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["main"]

#: How long a stage waits for the other ones.
_TIMEOUT_S = 300


def main(spec: dict[str, Any]) -> None:
    """Train, and write the time of an iteration."""
    # Before PyTorch counts the cores.
    os.sched_setaffinity(0, spec["cores"])
    import torch
    from torch import distributed
    from torch.nn import functional

    from dualnet.engine.bench import plain
    from dualnet.engine.core.memory import keep_freed_blocks

    torch.set_num_threads(spec["threads"])
    keep_freed_blocks()
    torch.manual_seed(1)
    net = plain.build("cifar10")
    is_staged = spec["schedule"] != "plain"
    if is_staged:
        net, step = _stage(spec, net)
    else:
        read = _reader(spec["net"])

        def step() -> None:
            images, labels = read()
            functional.cross_entropy(net(images), labels).backward()

    optimizer = torch.optim.SGD(net.parameters(), lr=0.001, momentum=0.9, weight_decay=0.0005)

    def iterate() -> None:
        optimizer.zero_grad()
        step()
        optimizer.step()

    for number in range(spec["warm_up"]):
        iterate()
        if number == 0 and spec["group"]:
            with open(spec["group"], "w", encoding="ascii") as group:
                group.write(str(os.getpid()))
    began_s, cpu_began_s = time.perf_counter(), time.process_time()
    for _ in range(spec["iterations"]):
        iterate()
    elapsed_s, cpu_s = time.perf_counter() - began_s, time.process_time() - cpu_began_s
    found = {"iteration_s": elapsed_s / spec["iterations"], "cpu_s": cpu_s / spec["iterations"]}
    with open(spec["out"], "w", encoding="utf-8") as file:
        json.dump(found, file)
    if is_staged:
        distributed.barrier()
        distributed.destroy_process_group()


def _reader(path: str) -> Callable[[], tuple[Tensor, Tensor]]:
    """What gives the next batch: images (N, C, H, W) float32, channels-last, and labels (N,) int64.

    Args:
        path: The prototxt of a Data layer with tops `data` and `label`.
    """
    import torch

    from dualnet import engine

    caffe = engine.register()
    caffe.set_mode_cpu()
    net = caffe.Net(path, caffe.TRAIN)

    def read() -> tuple[Tensor, Tensor]:
        net.forward()
        images = net.blobs["data"].data_in(torch.channels_last)
        return images, net.blobs["label"].data_tensor.long()

    return read


def _stage(spec: dict[str, Any], net: nn.Sequential) -> tuple[nn.Sequential, Callable[[], Any]]:
    """This process's stage of the net, and what one training step of it is.

    Args:
        spec: the module's SPEC.
        net: The whole one.
    """
    import torch
    from torch import distributed, nn
    from torch.distributed import pipelining
    from torch.nn import functional

    rank, count = spec["rank"], len(spec["cuts"]) + 1
    os.environ.update(GLOO_SOCKET_IFNAME=spec["card"], TP_SOCKET_IFNAME=spec["card"])
    distributed.init_process_group(
        "gloo", init_method=f"tcp://{spec['address']}:{spec['port']}", rank=rank,
        world_size=count, timeout=timedelta(seconds=_TIMEOUT_S),
    )  # fmt: skip
    names = [name for name, _ in net.named_children()]
    ends = [0, *(names.index(cut) + 1 for cut in spec["cuts"]), len(names)]
    begin, end = ends[rank], ends[rank + 1]
    is_first, is_last = rank == 0, rank == count - 1
    # What gloo sends has to be contiguous; the layers of either side work on channels-last.
    arriving = [] if is_first else [_order(torch.channels_last, torch.contiguous_format)]
    leaving = [] if is_last else [_order(torch.contiguous_format, torch.channels_last)]
    part = nn.Sequential(*arriving, *list(net)[begin:end], *leaving)
    sample = torch.empty(spec["batch"] // spec["micro"], 3, 32, 32)
    # A stage computes its input's gradient only if the example input requires one.
    crossing = sample
    if not is_first:
        crossing = net[:begin](sample).contiguous().detach().requires_grad_()
    own = pipelining.PipelineStage(
        part, rank, count, torch.device("cpu"), input_args=crossing, output_args=part(crossing)
    )
    kinds = {"GPipe": pipelining.ScheduleGPipe, "1F1B": pipelining.Schedule1F1B}
    schedule = kinds[spec["schedule"]](own, spec["micro"], loss_fn=functional.cross_entropy)
    if is_first:
        read = _reader(spec["net"])
        return part, lambda: schedule.step(read()[0])
    if not is_last:
        return part, lambda: schedule.step()
    label_batches = _labels(spec["labels"], spec["batch"])
    return part, lambda: schedule.step(target=label_batches())


def _labels(path: str, batch: int) -> Callable[[], Tensor]:
    """What gives the labels (N,) int64 of the next batch, in the order of the records."""
    import numpy as np
    import torch

    labels, place = torch.from_numpy(np.load(path)).long(), 0

    def following() -> Tensor:
        nonlocal place
        rows = torch.arange(place, place + batch) % len(labels)
        place += batch
        return labels[rows]

    return following


def _order(up: Any, down: Any) -> nn.Module:
    """A layer: (N, C, H, W) in one memory order, its gradient in another."""
    import torch
    from torch import nn

    class Order(torch.autograd.Function):
        @staticmethod
        def forward(context: Any, x: Any) -> Any:
            return x.contiguous(memory_format=up)

        @staticmethod
        def backward(context: Any, gradient: Any) -> Any:
            return gradient.contiguous(memory_format=down)

    class Reordered(nn.Module):
        def forward(self, x: Any) -> Any:
            return Order.apply(x)

    return Reordered()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
