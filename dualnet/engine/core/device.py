"""Which device the nets run on: pycaffe's mode and device number.

BVLC Caffe keeps the mode per thread, which surprises users whose nets run in a thread of their own
(they silently run on the CPU). Here it is one setting for the process.
"""

from __future__ import annotations

import torch

from dualnet.engine.core.call import integer
from dualnet.engine.errors import DeviceError

__all__ = ["current", "set_device", "set_mode_cpu", "set_mode_gpu", "use_channels_last"]

_CPU = torch.device("cpu")
_current = _CPU
_gpu_index = 0


def current() -> torch.device:
    """The device that tensors live on."""
    return _current


def set_mode_cpu() -> None:
    """Runs everything on the CPU from now on."""
    global _current
    _current = _CPU


def set_mode_gpu() -> None:
    """Runs everything on the GPU chosen by `set_device` (the first by default) from now on.

    Convolutions then round as Caffe's do: PyTorch's default, TF32, keeps 11 bits of each factor.
    Set `torch.backends.cudnn.allow_tf32 = True` afterwards to have that back.

    Raises:
        DeviceError: PyTorch sees no such GPU.
    """
    global _current
    _current = _gpu(_gpu_index)
    torch.backends.cudnn.allow_tf32 = False


def set_device(index: int) -> None:
    """Chooses the GPU; as in pycaffe, `set_mode_gpu` must be called too.

    Raises:
        DeviceError: PyTorch sees no such GPU.
    """
    global _gpu_index, _current
    device = _gpu(integer(index, "set_device(index)", "index"))
    _gpu_index = device.index
    if _current.type == "cuda":
        _current = device


def _gpu(index: int) -> torch.device:
    available = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not 0 <= index < available:
        raise DeviceError(
            f"GPU {index} is not available: PyTorch {torch.__version__} sees {available} CUDA "
            "devices; call set_mode_cpu() or install a CUDA build of PyTorch"
        )
    return torch.device("cuda", index)


def use_channels_last(ndim: int) -> bool:
    """Whether convolutions and poolings of this many axes run in channels-last order (NHWC).

    On CPUs PyTorch's max-pooling is several times faster so, and oneDNN's convolutions are no
    slower. On GPUs the order stays NCHW, as in Caffe: whether NHWC would pay there has not been
    measured.
    """
    return ndim == 4 and _current.type == "cpu"
