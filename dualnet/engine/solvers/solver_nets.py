"""The nets of a solver: one to train and any number to test (Caffe `src/caffe/solver.cpp`)."""

from __future__ import annotations

from dualnet.engine import log
from dualnet.engine.errors import SolverError, naming
from dualnet.engine.formats.prototxt import read_net
from dualnet.engine.formats.upgrade import upgrade_net
from dualnet.engine.net.net import Net
from dualnet.engine.proto import caffe_pb2

__all__ = ["make_test_nets", "make_train_net"]


def make_train_net(param: caffe_pb2.SolverParameter) -> Net:
    """Builds the training net and loads `weights`.

    Raises:
        SolverError: not exactly one of the four fields names a net.
    """
    fields = ("net", "net_param", "train_net", "train_net_param")
    given = [field for field in fields if param.HasField(field)]
    if len(given) != 1:
        raise SolverError(
            f"a solver must specify exactly one of {', '.join(fields)}; it has "
            f"{', '.join(given) or 'none'}"
        )
    source = getattr(param, given[0])
    message = _message(source)
    state = caffe_pb2.NetState(phase=caffe_pb2.TRAIN)
    _set_state(message, state, param.train_state)
    net = _built(message, source)
    _load_weights(net, param)
    return net


def make_test_nets(param: caffe_pb2.SolverParameter) -> list[Net]:
    """Builds the test nets: those of test_net_param, of test_net, then the common net.

    Raises:
        SolverError: the numbers of nets, test_iter and test_state disagree.
    """
    sources = [*param.test_net_param, *param.test_net]
    common = param.net if param.HasField("net") else None
    if param.HasField("net_param"):
        common = param.net_param
    iters = len(param.test_iter)
    if common is None and iters != len(sources):
        raise SolverError(
            f"test_iter must be specified for each test network: {len(sources)} test nets, "
            f"{iters} test_iter"
        )
    if iters < len(sources):
        raise SolverError(
            f"test_iter must be specified for each test network: {len(sources)} test nets, only "
            f"{iters} test_iter"
        )
    # `net` is tested once for each test_iter that no explicit test net takes.
    sources += [common] * (iters - len(sources))
    if param.test_state and len(param.test_state) != len(sources):
        raise SolverError(
            f"test_state must be unspecified or specified once per test net: {len(sources)} test "
            f"nets, {len(param.test_state)} test_state"
        )
    if sources and param.test_interval <= 0:
        raise SolverError(
            f"{len(sources)} test nets need test_interval above 0, it is {param.test_interval}"
        )
    nets = []
    for index, source in enumerate(sources):
        message = _message(source)
        state = caffe_pb2.NetState(phase=caffe_pb2.TEST)
        extra = param.test_state[index] if param.test_state else caffe_pb2.NetState()
        _set_state(message, state, extra)
        net = _built(message, source)
        _load_weights(net, param)
        nets.append(net)
    return nets


def _built(message: caffe_pb2.NetParameter, source: str | caffe_pb2.NetParameter) -> Net:
    with naming(source if isinstance(source, str) else "the solver's own net"):
        return Net.from_message(message)


def _load_weights(net: Net, param: caffe_pb2.SolverParameter) -> None:
    for names in param.weights:
        for name in names.split(","):
            log.info(f"Finetuning from {name.strip()}")
            net.copy_from(name.strip())


def _message(source: str | caffe_pb2.NetParameter) -> caffe_pb2.NetParameter:
    if isinstance(source, str):
        return read_net(source)
    message = caffe_pb2.NetParameter()
    message.CopyFrom(source)
    upgrade_net(message, "the solver's own net")
    return message


def _set_state(
    message: caffe_pb2.NetParameter, state: caffe_pb2.NetState, extra: caffe_pb2.NetState
) -> None:
    """Sets the message's state: the phase, then the net's own state, then the solver's addition.

    Later ones win for phase and level; stages add up (protobuf's merge).
    """
    state.MergeFrom(message.state)
    state.MergeFrom(extra)
    message.state.CopyFrom(state)
