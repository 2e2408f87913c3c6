"""One variant in a process of its own: `python -m dualnet.engine.bench.child SPEC`.

SPEC is JSON: variant, net, shape, classes, solver. Requests come as JSON lines on stdin and each
gets one line of JSON on stdout: {"train": STEPS}, {"memory": true}, {"layers": STEPS}. The end of
the input ends the process.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from dualnet.engine.core.memory import keep_freed_blocks

__all__ = ["main", "peak_memory_mib"]


def peak_memory_mib() -> float:
    """The most memory that this process has had resident, from `/proc/self/status`."""
    with open("/proc/self/status", encoding="ascii") as stream:
        for line in stream:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024.0
    raise OSError("/proc/self/status has no VmHWM")


def main(spec: dict[str, Any]) -> None:
    """Answers requests until the input ends."""
    trainer = _trainer(spec)
    _answer({"ready": _version(spec["variant"])})
    for line in sys.stdin:
        request = json.loads(line)
        if "train" in request:
            _answer(_train(trainer, request["train"]))
        elif "memory" in request:
            _answer({"peak_mib": peak_memory_mib()})
        else:
            _answer({"layers_s": trainer.layer_times(request["layers"])})


def _trainer(spec: dict[str, Any]) -> Any:
    if spec["variant"] == "plain_tuned":
        keep_freed_blocks()
    if spec["variant"] in ("plain", "plain_tuned"):
        from dualnet.engine.bench.plain_trainer import PlainTrainer

        return PlainTrainer(spec["net"], tuple(spec["shape"]), spec["classes"])
    from dualnet.engine.bench.pycaffe_trainer import PycaffeTrainer

    return PycaffeTrainer(spec["variant"], spec["solver"], spec["classes"])


def _version(variant: str) -> str:
    if variant == "bvlc":
        return f"Caffe {sys.modules['caffe'].__version__}"
    return f"PyTorch {sys.modules['torch'].__version__}"


def _train(trainer: Any, steps: int) -> dict[str, Any]:
    wall_s, cpu_s = [], []
    for _ in range(steps):
        cpu_start_s, start_s = time.process_time(), time.perf_counter()
        trainer.step()
        wall_s.append(time.perf_counter() - start_s)
        cpu_s.append(time.process_time() - cpu_start_s)
    return {"step_s": wall_s, "cpu_s": cpu_s, "loss": trainer.loss()}


def _answer(reply: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(reply) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
