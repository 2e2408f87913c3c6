"""Two stages of plain PyTorch learn what the whole net would."""

from __future__ import annotations

import json
import socket
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")
from dualnet.engine.bench import plain, stage  # noqa: E402 (PyTorch first)

#: A stage takes one step and writes its gradients.
CHILD = """
import json, os, sys
import torch
from dualnet.engine.bench import plain, stage
spec = json.loads(sys.argv[1])
torch.manual_seed(1)
net = plain.build("cifar10")
images = torch.rand(8, 3, 32, 32).contiguous(memory_format=torch.channels_last) - 0.5
labels = torch.arange(8)
stage._reader = lambda path: lambda: (images, labels)
stage._labels = lambda path, batch: lambda: labels
part, step = stage._stage(spec, net)
step()
# A stage holds the layers of the whole net under their places in the stage.
torch.save([p.grad for p in part.parameters()], spec["out"])
torch.distributed.barrier()
torch.distributed.destroy_process_group()
"""


def whole_gradients():
    torch.manual_seed(1)
    net = plain.build("cifar10")
    images = torch.rand(8, 3, 32, 32) - 0.5
    torch.nn.functional.cross_entropy(net(images), torch.arange(8)).backward()
    return [p.grad for p in net.parameters()]


@pytest.mark.parametrize("schedule, micro", [("GPipe", 4), ("1F1B", 2)])
def test_the_stages_gradients_are_those_of_the_whole_net(tmp_path, repository, schedule, micro):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    spec = {"schedule": schedule, "micro": micro, "batch": 8, "cuts": ["pool1"], "card": "lo",
            "net": "", "labels": "",
            "address": "127.0.0.1", "port": port}  # fmt: skip
    stages = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD,
             json.dumps({**spec, "rank": rank, "out": str(tmp_path / str(rank))})],
            cwd=str(repository),
        )
        for rank in range(2)
    ]  # fmt: skip
    assert [process.wait(200) for process in stages] == [0, 0]
    found = [gradient for rank in "01" for gradient in torch.load(tmp_path / rank)]
    wanted = whole_gradients()
    assert len(found) == len(wanted)
    for own, other in zip(found, wanted):
        torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-7)


def test_what_crosses_changes_its_memory_order_both_ways():
    x = torch.rand(2, 3, 4, 5).contiguous(memory_format=torch.channels_last).requires_grad_()
    y = stage._order(torch.contiguous_format, torch.channels_last)(x)
    assert y.is_contiguous() and torch.equal(y, x)
    gradients = []
    x.register_hook(gradients.append)
    y.backward(torch.rand(2, 3, 4, 5))
    assert gradients[0].is_contiguous(memory_format=torch.channels_last)
