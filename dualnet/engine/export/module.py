"""A net of the engine as a module of PyTorch's."""

from __future__ import annotations

import inspect
import keyword
import re
from collections.abc import Collection, Mapping, Sequence

from torch import Tensor, nn

from dualnet.engine.export.operation import Operation
from dualnet.engine.export.operations import operation
from dualnet.engine.export.support import check_layers
from dualnet.engine.net.base_net import BaseNet
from dualnet.engine.net.node import Node

__all__ = ["NetModule", "net_module", "identifiers"]


class NetModule(nn.Module):
    """Runs a net's layers one after the other; `net_module` makes it.

    Every layer with parameters has a submodule of its name, so that they are called as in Caffe:
    `conv1.weight`. It takes the net's inputs as arguments, and returns its outputs by name.

    Args:
        net: the net, in phase TEST, with its weights. It cannot be run by itself afterwards.
        outputs: the blobs to return.

    Attributes:
        input_names: the arguments.
        output_names: the keys of the result.
        nodes: the net's layers.
    """

    def __init__(self, net: BaseNet, outputs: Sequence[str]) -> None:
        super().__init__()
        structure = net._structure
        self.nodes: list[Node] = structure.nodes
        self._input_ids = list(structure.inputs)
        self._output_ids = {name: structure.blob_names.index(name) for name in outputs}
        self.input_names = identifiers([structure.blob_names[i] for i in self._input_ids])
        self.output_names = list(outputs)
        self._steps: list[tuple[Node, Operation, str]] = []
        owned: dict[int, nn.Parameter] = {}
        for node in self.nodes:
            if not node.layer.is_input:
                step = operation(node)
                self._steps.append((node, step, self._own(node.name, step.weights, owned)))

    def _own(
        self, layer: str, weights: Mapping[str, Tensor], owned: dict[int, nn.Parameter]
    ) -> str:
        """Makes a layer's weights a submodule's; returns its name, "" where there are none."""
        if not weights:
            return ""
        # What nn.Module refuses in names, or has itself.
        name = layer.replace(".", "_") or "layer"
        while hasattr(self, name):
            name += "_"
        holder = nn.Module()
        for key, values in weights.items():
            if key.startswith("running"):
                holder.register_buffer(key, values)
            else:  # layers that share parameters share them here, too
                shared = owned.setdefault(id(values), nn.Parameter(values, requires_grad=False))
                holder.register_parameter(key, shared)
        self.add_module(name, holder)
        return name

    def run(self, inputs: Sequence[Tensor]) -> dict[str, Tensor]:
        """Computes the outputs.

        Args:
            inputs: the net's inputs in its order, of batches of one size.
        """
        values = dict(zip(self._input_ids, inputs))
        for node, step, name in self._steps:
            holder = getattr(self, name) if name else None
            weights = {key: getattr(holder, key) for key in step.weights}
            tops = step(weights, [values[i] for i in node.bottom_ids])
            values.update(zip(node.top_ids, tops))
        return {name: values[i] for name, i in self._output_ids.items()}


def net_module(net: BaseNet, outputs: Sequence[str]) -> NetModule:
    """Makes the module of a net; the arguments are those of `NetModule`.

    Raises:
        UnsupportedError: layers cannot be exported; it names all of them.
    """
    check_layers(net._structure.nodes)

    def forward(self: NetModule, *inputs: Tensor) -> dict[str, Tensor]:
        return self.run(inputs)

    # torch.export names a program's inputs after the arguments in the signature.
    made = type("Net", (NetModule,), {"forward": forward})(net, outputs)
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    names = [inspect.Parameter(name, kind) for name in ("self", *made.input_names)]
    forward.__signature__ = inspect.Signature(names)  # type: ignore[attr-defined]
    made.eval()
    return made


def identifiers(blobs: Sequence[str]) -> list[str]:
    """Blobs' names as names in Python: `data`, `left_data` for `left/data`."""
    found: list[str] = []
    for blob in blobs:
        name = re.sub(r"\W", "_", blob)
        name = name if name.isidentifier() else f"_{name}"
        name = f"{name}_" if keyword.iskeyword(name) else name
        found.append(_unused(name, found))
    return found


def _unused(name: str, taken: Collection[str]) -> str:
    while name in taken:
        name += "_"
    return name
