"""From a net's message to layers and blobs, and to what of them runs backward.

Facts from Caffe's `src/caffe/net.cpp` (Init, AppendTop, AppendBottom, AppendParam).
"""

from __future__ import annotations

from dualnet.engine.core import after_fork, memory
from dualnet.engine.core.blob import Blob
from dualnet.engine.errors import GraphError, ShapeError
from dualnet.engine.layers.registry import layer_class
from dualnet.engine.net import graph
from dualnet.engine.net.node import Node, ParamEntry
from dualnet.engine.proto import caffe_pb2

__all__ = ["NetStructure"]


class NetStructure:
    """Layers, blobs and parameters of a net, built as Caffe's Net::Init does.

    Filters the layers by state, inserts Split layers, creates layers and blobs in order, decides
    which layers run backward, and makes parameters of one name share their memory. The first one
    built in a process changes that process's malloc settings: see `memory.keep_freed_blocks`.

    Args:
        net: the message with its `state` set; filtered and completed with Split layers here.

    Attributes:
        message: the filtered net with its Split layers.
        nodes: the layers in order.
        blobs: all blobs in order of appearance.
        blob_names: their names.
        blob_loss_weights: their loss weights.
        inputs: ids of the blobs that Input layers produce.
        outputs: ids of the blobs that nothing reads, in alphabetical order.
        params: all parameters, those that share memory included.
        learnable: the ids of parameters that own their memory.

    Raises:
        PrototxtError: a setting is wrong or missing; UnknownLayerError for a layer type.
        GraphError: layers and blobs do not fit together.
        ShapeError: shapes do not fit, of blobs or of parameters of one name.
        CaffeError: what else a layer's setup raises (DataError, WeightsError).
    """

    def __init__(self, net: caffe_pb2.NetParameter) -> None:
        after_fork.note_use()
        memory.keep_freed_blocks()
        self.message = graph.insert_splits(graph.filter_layers(net))
        self.nodes: list[Node] = []
        self.blobs: list[Blob] = []
        self.blob_names: list[str] = []
        self.blob_loss_weights: list[float] = []
        self.inputs: list[int] = []
        self.outputs: list[int] = []
        self.params: list[ParamEntry] = []
        self.learnable: list[int] = []
        self._blob_ids: dict[str, int] = {}
        self._unread: set[str] = set()  # blobs without a reader so far: the outputs in the end
        # Whether a blob depends on a parameter that learns, so that its gradient has a use.
        self._blob_need_backward: list[bool] = []
        self._named_params: dict[str, int] = {}  # name in a ParamSpec -> the parameter that owns it
        for param in self.message.layer:
            self._add_layer(param)
        self._prune_backward()
        if net.force_backward:
            self._force_backward()
        # Sorted, because Caffe keeps them in a std::set; the log and net.outputs show the order.
        self.outputs = [self._blob_ids[name] for name in sorted(self._unread)]
        self._share_params()

    def _add_layer(self, param: caffe_pb2.LayerParameter) -> None:
        """Creates one layer with its blobs; the order of the steps is Caffe's, and matters.

        Blobs are wired before `setup`, which reads the bottoms' shapes. The file's `param` entries
        are counted and read before it, too, because BatchNorm appends its own in `setup`.
        Parameters exist, and are registered, only after it.
        """
        if not param.HasField("phase"):
            param.phase = self.message.state.phase
        if len(param.propagate_down) not in (0, len(param.bottom)):
            raise GraphError(
                f"layer '{param.name}' has {len(param.bottom)} bottoms and "
                f"{len(param.propagate_down)} propagate_down; give none or one a bottom"
            )
        layer = layer_class(param.type, param.name).create(param)
        node = Node(param.name, param, layer)
        for index, name in enumerate(param.bottom):
            self._append_bottom(node, index, name)
        for index, name in enumerate(param.top):
            self._append_top(node, index, name)
        if layer.auto_tops:
            least = layer.tops if isinstance(layer.tops, int) else layer.tops[0]
            while len(node.tops) < least:
                self._append_unnamed_top(node)
        specs = len(param.param)
        lr_mults = [spec.lr_mult for spec in param.param]
        node.setup()
        for blob_id, weight in zip(node.top_ids, node.loss_weights):
            self.blob_loss_weights[blob_id] = weight
        count = len(layer.blobs)
        if specs > count:
            raise GraphError(
                f"layer '{param.name}' ({param.type}) has {count} parameters and {specs} param "
                "entries; remove the surplus"
            )
        # A rate of 0 saves the gradient; parameters without an entry have the rate's default, 1.
        wanted = [lr != 0 for lr in lr_mults] + [True] * (count - specs)
        layer.param_propagate_down = wanted
        # As in Caffe, propagate_down says what is computed, not whether anything is needed.
        needed = (self._blob_need_backward[blob_id] for blob_id in node.bottom_ids)
        node.need_backward = any(wanted) or any(needed)
        for index in range(count):
            self._append_param(node, index)
        if node.need_backward:
            for blob_id in node.top_ids:
                self._blob_need_backward[blob_id] = True
        self.nodes.append(node)

    def _append_bottom(self, node: Node, index: int, name: str) -> None:
        if name not in self._unread:
            state = "is already read by another layer" if name in self._blob_ids else "is unknown"
            raise GraphError(
                f"layer '{node.name}' ({node.param.type}), bottom {index}: blob '{name}' {state}"
            )
        blob_id = self._blob_ids[name]
        node.bottoms.append(self.blobs[blob_id])
        node.bottom_ids.append(blob_id)
        self._unread.discard(name)
        if node.param.propagate_down:
            node.bottom_need_backward.append(bool(node.param.propagate_down[index]))
        else:
            # As Caffe: the gradient of a blob is computed if a parameter upstream needs it.
            node.bottom_need_backward.append(self._blob_need_backward[blob_id])

    def _append_top(self, node: Node, index: int, name: str) -> None:
        bottoms = node.param.bottom
        if name in self._blob_ids and index < len(bottoms) and bottoms[index] == name:
            blob_id = self._blob_ids[name]  # in place
        elif name in self._blob_ids:
            raise GraphError(
                f"layer '{node.name}' ({node.param.type}), top {index}: blob '{name}' is produced "
                f"by an earlier layer too; rename it, or make it bottom {index} of this layer to "
                "compute in place"
            )
        else:
            blob_id = self._new_blob(name)
            self._blob_ids[name] = blob_id
        node.tops.append(self.blobs[blob_id])
        node.top_ids.append(blob_id)
        if node.layer.is_input:
            self.inputs.append(blob_id)
        self._unread.add(name)

    def _append_unnamed_top(self, node: Node) -> None:
        """A loss layer without tops still has a loss: its blob is anonymous and no output."""
        blob_id = self._new_blob("(automatic)")
        node.tops.append(self.blobs[blob_id])
        node.top_ids.append(blob_id)

    def _new_blob(self, name: str) -> int:
        self.blobs.append(Blob())
        self.blob_names.append(name)
        self.blob_loss_weights.append(0.0)
        self._blob_need_backward.append(False)
        return len(self.blobs) - 1

    def _append_param(self, node: Node, index: int) -> None:
        specs = node.param.param
        spec = specs[index] if index < len(specs) else caffe_pb2.ParamSpec()
        new = ParamEntry(node.layer.blobs[index], spec, node.name, index, len(self.params))
        node.param_ids.append(len(self.params))
        if spec.name in self._named_params:
            new.owner = self._named_params[spec.name]
            owner = self.params[new.owner]
            new.learnable_id = owner.learnable_id
            _check_shared(owner, new)
        else:
            if spec.name:
                self._named_params[spec.name] = new.owner
            new.learnable_id = len(self.learnable)
            self.learnable.append(new.owner)
        self.params.append(new)

    def _share_params(self) -> None:
        """Lets parameters of one name share memory, when all have been filled.

        The owner's initial values count. Those of the others are drawn, too, and dropped: sharing
        changes no other layer's random numbers.
        """
        for number, param in enumerate(self.params):
            if param.owner != number:
                owner = self.params[param.owner]
                param.blob.share_data(owner.blob)
                param.blob.share_diff(owner.blob)

    def _prune_backward(self) -> None:
        """Disables backward where no loss is downstream, or no gradient is wanted upstream.

        One walk from the last layer to the first. `under_loss` are blobs that a loss depends on;
        `skip` are bottoms whose gradient their reader does not compute. A layer all of whose tops
        are in `skip` has nothing to do. Names suffice to tell blobs apart: after `insert_splits`
        each has one reader, except along in-place layers, where all see one gradient anyway.
        """
        under_loss: set[str] = set()
        skip: set[str] = set()
        for node in reversed(self.nodes):
            tops = [self.blob_names[i] for i in node.top_ids]
            bottoms = [self.blob_names[i] for i in node.bottom_ids]
            contributes = any(node.loss_weights) or any(name in under_loss for name in tops)
            if node.need_backward and all(name in skip for name in tops):
                node.need_backward = False
                node.bottom_need_backward = [False] * len(bottoms)
            if not contributes:
                node.need_backward = False
                node.bottom_need_backward = [False] * len(bottoms)
            for name, wanted in zip(bottoms, node.bottom_need_backward):
                if contributes:
                    under_loss.add(name)
                if not wanted:
                    skip.add(name)

    def _force_backward(self) -> None:
        """`force_backward: true`: all layers run backward, down to the inputs' gradients."""
        for node in self.nodes:
            node.need_backward = True
            node.bottom_need_backward = [
                wanted or node.layer.allow_force_backward(i)
                for i, wanted in enumerate(node.bottom_need_backward)
            ]
            node.layer.param_propagate_down = [True] * len(node.layer.blobs)


def _check_shared(owner: ParamEntry, new: ParamEntry) -> None:
    """Checks that two parameters of one name can share memory."""
    place = (
        f"parameter '{new.spec.name}' is shared by layers '{owner.layer_name}' and "
        f"'{new.layer_name}'"
    )
    permissive = new.spec.share_mode == caffe_pb2.ParamSpec.PERMISSIVE
    shapes = owner.blob.dims, new.blob.dims
    if (permissive and owner.blob.count != new.blob.count) or (
        not permissive and shapes[0] != shapes[1]
    ):
        raise ShapeError(f"{place}, but their shapes are {shapes[0]} and {shapes[1]}")
    for field in ("lr_mult", "decay_mult"):
        if not new.spec.HasField(field):
            continue
        # One of several layers may give the multiplier for all; two may not differ.
        ours, theirs = getattr(owner.spec, field), getattr(new.spec, field)
        if owner.spec.HasField(field) and ours != theirs:
            raise GraphError(f"{place}, but {field} is {ours:g} and {theirs:g}; make them equal")
        setattr(owner.spec, field, theirs)
