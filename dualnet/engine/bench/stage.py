"""One timed process of plain PyTorch: `python -m dualnet.engine.bench.stage SPEC`.

It trains the hand-written net of plain.py on random images, either the whole of it or one of the
two stages that torch.distributed.pipelining makes of it, over gloo. SPEC is JSON: schedule
(`plain`, `GPipe` or `1F1B`), micro (the number of micro-batches), rank, cores, batch, cut (the last
layer of the first stage), iterations, warm_up, address and port of the first stage, card (the
network card) and out, the file that gets the time of an iteration in seconds.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

__all__ = ["main"]

#: How long a stage waits for the other one.
_TIMEOUT_S = 120


def main(spec: dict[str, Any]) -> None:
    """Train, and write the time of an iteration."""
    # Before PyTorch counts the cores.
    os.sched_setaffinity(0, spec["cores"])
    import torch
    from torch import distributed
    from torch.nn import functional

    from dualnet.engine.bench import plain
    from dualnet.engine.core.memory import keep_freed_blocks

    keep_freed_blocks()
    torch.manual_seed(1)
    net, batch = plain.build("cifar10"), spec["batch"]
    images = torch.rand(batch, 3, 32, 32).contiguous(memory_format=torch.channels_last) - 0.5
    labels = torch.randint(10, (batch,))
    is_staged = spec["schedule"] != "plain"
    if is_staged:
        net, step = _stage(spec, net, images, labels)
    else:

        def step() -> None:
            functional.cross_entropy(net(images), labels).backward()

    optimizer = torch.optim.SGD(net.parameters(), lr=0.001, momentum=0.9, weight_decay=0.0005)

    def iterate() -> None:
        optimizer.zero_grad()
        step()
        optimizer.step()

    for _ in range(spec["warm_up"]):
        iterate()
    began_s = time.perf_counter()
    for _ in range(spec["iterations"]):
        iterate()
    elapsed_s = time.perf_counter() - began_s
    with open(spec["out"], "w", encoding="utf-8") as file:
        file.write(str(elapsed_s / spec["iterations"]))
    if is_staged:
        distributed.barrier()
        distributed.destroy_process_group()


def _stage(spec: dict[str, Any], net: Any, images: Any, labels: Any) -> tuple[Any, Callable]:
    """This process's stage of the net, and what one training step of it is.

    Args:
        spec: the module's SPEC.
        net: The whole one, an nn.Sequential.
        images: (N, 3, 32, 32) float32, channels-last.
        labels: (N,) int64.
    """
    import torch
    from torch import distributed, nn
    from torch.distributed import pipelining
    from torch.nn import functional

    os.environ.update(GLOO_SOCKET_IFNAME=spec["card"], TP_SOCKET_IFNAME=spec["card"])
    distributed.init_process_group(
        "gloo", init_method=f"tcp://{spec['address']}:{spec['port']}", rank=spec["rank"],
        world_size=2, timeout=timedelta(seconds=_TIMEOUT_S),
    )  # fmt: skip
    names = [name for name, _ in net.named_children()]
    cut = names.index(spec["cut"]) + 1
    # What gloo sends has to be contiguous; the layers of either side work on channels-last.
    part = nn.Sequential(*net[:cut], _order(torch.contiguous_format, torch.channels_last))
    if spec["rank"] == 1:
        part = nn.Sequential(_order(torch.channels_last, torch.contiguous_format), *net[cut:])
    sample = torch.empty(spec["batch"] // spec["micro"], 3, 32, 32)
    # A stage computes its input's gradient only if the example input requires one.
    crossing = net[:cut](sample).contiguous().detach().requires_grad_()
    example = (sample, crossing) if spec["rank"] == 0 else (crossing, part(crossing))
    own = pipelining.PipelineStage(
        part, spec["rank"], 2, torch.device("cpu"), input_args=example[0], output_args=example[1]
    )
    kinds = {"GPipe": pipelining.ScheduleGPipe, "1F1B": pipelining.Schedule1F1B}
    schedule = kinds[spec["schedule"]](own, spec["micro"], loss_fn=functional.cross_entropy)
    if spec["rank"] == 0:
        return part, lambda: schedule.step(images)
    return part, lambda: schedule.step(target=labels)


def _order(up: Any, down: Any) -> Any:
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
