"""What a net is made of: layers chosen by state, Split layers where blobs have several readers.

Facts from Caffe's `src/caffe/net.cpp` (FilterNet, StateMeetsRule) and
`src/caffe/util/insert_splits.cpp`.
"""

from __future__ import annotations

from collections import defaultdict

from dualnet.engine.errors import GraphError, PrototxtError, quoted
from dualnet.engine.proto import caffe_pb2

__all__ = ["filter_layers", "insert_splits", "meets_rule"]

Slot = tuple[int, int]  # (layer index, index among its tops or bottoms)


def meets_rule(state: caffe_pb2.NetState, rule: caffe_pb2.NetStateRule) -> bool:
    """Whether a net state satisfies one include or exclude rule.

    Args:
        state: phase, level and stages of the net.
        rule: absent fields accept anything; every `stage` and no `not_stage` must be present.
    """
    if rule.HasField("phase") and rule.phase != state.phase:
        return False
    if rule.HasField("min_level") and state.level < rule.min_level:
        return False
    if rule.HasField("max_level") and state.level > rule.max_level:
        return False
    stages = set(state.stage)
    return stages.issuperset(rule.stage) and stages.isdisjoint(rule.not_stage)


def filter_layers(net: caffe_pb2.NetParameter) -> caffe_pb2.NetParameter:
    """Keeps the layers that the net's state includes.

    Args:
        net: a net with its `state` set.

    Returns:
        A copy with fewer layers; each layer's rules are kept.

    Raises:
        PrototxtError: a layer has both include and exclude rules.
    """
    kept = caffe_pb2.NetParameter()
    kept.CopyFrom(net)
    del kept.layer[:]
    for layer in net.layer:
        if layer.include and layer.exclude:
            raise PrototxtError(
                f"layer '{layer.name}' has {len(layer.include)} include and {len(layer.exclude)} "
                "exclude rules; use one kind"
            )
        if layer.include:
            chosen = any(meets_rule(net.state, rule) for rule in layer.include)
        else:
            chosen = not any(meets_rule(net.state, rule) for rule in layer.exclude)
        if chosen:
            kept.layer.add().CopyFrom(layer)
    return kept


def insert_splits(net: caffe_pb2.NetParameter) -> caffe_pb2.NetParameter:
    """Gives every reader of a shared blob its own copy, by Split layers.

    The first pass counts the readers of each top, which is named by layer and place because
    in-place layers write several tops of one name; the second one renames the bottoms and inserts
    the Splits.

    A loss weight counts as a reader of its blob: with another reader the Split layer's first top
    carries the weight. As in Caffe, the layer that had it then loses the weights of all its tops.

    Args:
        net: the filtered net.

    Returns:
        A copy with Split layers named as Caffe names them.

    Raises:
        GraphError: a bottom that no layer before produces.
    """
    producer: dict[str, Slot] = {}  # blob name -> the last top of that name so far
    source: dict[Slot, Slot] = {}  # bottom -> the top that it reads
    readers: defaultdict[Slot, int] = defaultdict(int)
    weights: dict[Slot, float] = {}
    for i, layer in enumerate(net.layer):
        for j, blob in enumerate(layer.bottom):
            if blob not in producer:
                raise GraphError(
                    f"layer '{layer.name}' ({layer.type}), bottom {j}: unknown blob '{blob}'; the "
                    f"layers before it produce {quoted(sorted(producer))}"
                )
            source[i, j] = producer[blob]
            readers[producer[blob]] += 1
        for j, blob in enumerate(layer.top):
            producer[blob] = (i, j)
        for j, weight in enumerate(layer.loss_weight[: len(layer.top)]):
            top = producer[layer.top[j]]
            weights[top] = weight
            if weight:
                readers[top] += 1

    result = caffe_pb2.NetParameter()
    result.CopyFrom(net)
    del result.layer[:]
    used: defaultdict[Slot, int] = defaultdict(int)
    for i, layer in enumerate(net.layer):
        copy = result.layer.add()
        copy.CopyFrom(layer)
        for j in range(len(layer.bottom)):
            top = source[i, j]
            if readers[top] > 1:
                copy.bottom[j] = f"{_split_name(net, top)}_{used[top]}"
                used[top] += 1
        for j, blob in enumerate(layer.top):
            if readers[i, j] <= 1:
                continue
            name = _split_name(net, (i, j))
            tops = [f"{name}_{k}" for k in range(readers[i, j])]
            split = result.layer.add(name=name, type="Split", bottom=[blob], top=tops)
            weight = weights.get((i, j), 0.0)
            if weight:  # the first Split top is for the loss alone: readers begin at the second
                split.loss_weight.extend([weight] + [0.0] * (len(tops) - 1))
                del copy.loss_weight[:]
                used[i, j] += 1
    return result


def _split_name(net: caffe_pb2.NetParameter, top: Slot) -> str:
    layer = net.layer[top[0]]
    return f"{layer.top[top[1]]}_{layer.name}_{top[1]}_split"
