"""The `caffe` command: train, test, time, device_query (Caffe `tools/caffe.cpp`).

python -m dualnet.engine.command.caffe_command train --solver=solver.prototxt
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Callable

import torch

from dualnet.engine import log
from dualnet.engine.command import caffe_time
from dualnet.engine.command.caffe_flags import Flags, UsageError, flag_help, parse_flags
from dualnet.engine.command.signals import SignalActions
from dualnet.engine.core import device
from dualnet.engine.errors import CaffeError, DeviceError
from dualnet.engine.formats import prototxt
from dualnet.engine.net.net import Net
from dualnet.engine.proto import caffe_pb2
from dualnet.engine.solvers.solver_types import solver_class

__all__ = ["main"]

_USAGE = """caffe: command line brew
usage: caffe <command> <args>

commands:
  train           train or finetune a model
  test            score a model
  device_query    show GPU diagnostic information
  time            benchmark model execution time

  Flags:
"""
_FAILED, _WRONG_USAGE = 1, 2


def main(arguments: Sequence[str]) -> int:
    """Runs one command.

    Args:
        arguments: the command line after the program's name.

    Returns:
        The exit code: 0 done, 1 failed (the last log line says why), 2 wrong usage.
    """
    try:
        flags, words = parse_flags(arguments)
        if flags.help or flags.version:
            sys.stdout.write(_USAGE + flag_help() + "\n" if flags.help else "caffe version 1.0.0\n")
            return 0
        if len(words) != 1:
            sys.stderr.write(_USAGE + flag_help() + "\n")
            return _WRONG_USAGE
        if flags.minloglevel >= 0:
            log.init_log(flags.minloglevel)
        _action(words[0])(flags)
    except UsageError as error:
        log.error(str(error))
        return _WRONG_USAGE
    except CaffeError as error:
        log.error(str(error))
        return _FAILED
    return 0


def _action(name: str) -> Callable[[Flags], None]:
    actions = {"device_query": _device_query, "test": _test, "time": _time, "train": _train}
    if name not in actions:
        raise UsageError(f"Unknown action: {name}; the actions are: {', '.join(actions)}")
    return actions[name]


def _need(value: str, what: str) -> str:
    if not value:
        raise UsageError(f"Need {what}.")
    return value


def _train(flags: Flags) -> None:
    """Trains a net, from the start, from weights or from a snapshot."""
    path = _need(flags.solver, "a solver definition to train: --solver=FILE")
    if flags.snapshot and flags.weights:
        raise UsageError(
            "Give a snapshot to resume training or weights to finetune but not both: --snapshot="
            f"{flags.snapshot} --weights={flags.weights}"
        )
    param = prototxt.read_solver(path)
    # The command line's level and stages are for the training net; test_state is the file's.
    param.train_state.level = flags.level
    param.train_state.stage.extend(_stages(flags))
    if flags.weights:
        param.ClearField("weights")  # --weights replaces the file's
        param.weights.append(flags.weights)
    _choose_device(flags, param)
    with SignalActions(flags.sigint_effect, flags.sighup_effect) as actions:
        solver = solver_class(param.type).from_message(param, path)
        solver.set_action_function(actions)
        solver.stop_on_nan = flags.stop_on_nan
        if flags.snapshot:
            log.info(f"Resuming from {flags.snapshot}")
            solver.restore(flags.snapshot)
        log.info("Starting Optimization")
        solver.solve()
        log.info("Optimization Done.")


def _test(flags: Flags) -> None:
    """Scores a model: the mean of each output over the iterations."""
    model = _need(flags.model, "a model definition to score: --model=FILE")
    _need(flags.weights, "model weights to score: --weights=FILE")
    _choose_device(flags)
    net = Net(model, caffe_pb2.TEST, flags.level, _stages(flags))
    for name in flags.weights.split(","):
        net.copy_from(name.strip())
    count = _iterations(flags)
    log.info(f"Running for {count} iterations.")
    names: list[str] = []
    sums: list[float] = []
    total = 0.0
    for batch in range(count):
        total += net._forward(0, len(net.layers) - 1)
        values = [
            (name, value)
            for name in net.outputs
            for value in net.blobs[name].data.reshape(-1).tolist()
        ]
        names = [name for name, _ in values]
        sums = [a + v for a, (_, v) in zip(sums or [0.0] * len(values), values)]
        for name, value in values:
            log.info(f"Batch {batch}, {name} = {value:g}")
    log.info(f"Loss: {total / count:g}")
    for name, value in zip(names, sums):
        weight, mean = net.blob_loss_weights[name], value / count
        weighted = f" (* {weight:g} = {weight * mean:g} loss)" if weight else ""
        log.info(f"{name} = {mean:g}{weighted}")


def _time(flags: Flags) -> None:
    """Measures each layer's passes."""
    model = _need(flags.model, "a model definition to time: --model=FILE")
    phases = {"": caffe_pb2.TRAIN, "TRAIN": caffe_pb2.TRAIN, "TEST": caffe_pb2.TEST}
    if flags.phase not in phases:
        raise UsageError(f'phase must be "TRAIN" or "TEST", it is "{flags.phase}"')
    _choose_device(flags)
    net = Net(model, phases[flags.phase], flags.level, _stages(flags))
    caffe_time.measure(net, _iterations(flags))


def _device_query(flags: Flags) -> None:
    """Logs the GPUs and their properties."""
    log.info(f"Querying GPUs {flags.gpu}")
    present = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not present:
        log.info(f"PyTorch {torch.__version__} sees no CUDA devices")
    chosen = range(present) if flags.gpu in ("", "all") else _gpu_numbers(flags.gpu)
    for index in chosen:
        device.set_device(index)  # raises DeviceError for a number that does not exist
        properties = torch.cuda.get_device_properties(index)
        for label, value in (
            ("Device id", index),
            ("Major revision number", properties.major),
            ("Minor revision number", properties.minor),
            ("Name", properties.name),
            ("Total global memory", properties.total_memory),
            ("Number of multiprocessors", properties.multi_processor_count),
        ):
            log.info(f"{label + ':':30} {value}")


def _stages(flags: Flags) -> list[str]:
    return [stage for stage in flags.stage.split(",") if stage]


def _iterations(flags: Flags) -> int:
    if flags.iterations < 1:
        raise UsageError(f"--iterations must be 1 or more, it is {flags.iterations}")
    return flags.iterations


def _gpu_numbers(text: str) -> list[int]:
    try:
        return [int(number) for number in text.split(",")]
    except ValueError as error:
        raise UsageError(f"--gpu takes numbers or 'all', not '{text}'") from error


def _wants_gpu(param: caffe_pb2.SolverParameter) -> bool:
    """Caffe's default mode is GPU; a solver that does not set it may run on the CPU without one."""
    if param.solver_mode != caffe_pb2.SolverParameter.GPU:
        return False
    return bool(param.HasField("solver_mode") or torch.cuda.is_available())


def _choose_device(flags: Flags, param: caffe_pb2.SolverParameter | None = None) -> None:
    """Follows --gpu, else the solver's mode."""
    numbers: list[int] = []
    if flags.gpu == "all":
        numbers = list(range(torch.cuda.device_count())) or [0]
    elif flags.gpu:
        numbers = _gpu_numbers(flags.gpu)
    elif param is not None and _wants_gpu(param):
        numbers = [param.device_id]
    if len(numbers) > 1:
        raise DeviceError(
            f"--gpu={flags.gpu}: the engine trains a net on one GPU, not on {len(numbers)}; give "
            "one number"
        )
    if not numbers:
        log.info("Use CPU.")
        device.set_mode_cpu()
        return
    log.info(f"Using GPUs {numbers[0]}")
    device.set_device(numbers[0])
    device.set_mode_gpu()
    log.info(f"GPU {numbers[0]}: {torch.cuda.get_device_name(numbers[0])}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
