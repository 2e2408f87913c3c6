"""What is said where a command needs PyTorch and it is not installed."""

from __future__ import annotations

import importlib.util

__all__ = ["missing_torch", "require_torch"]


def missing_torch(error: BaseException) -> str:
    """A line with the remedy if the error is that PyTorch is missing; "" if it is another one."""
    if not isinstance(error, ModuleNotFoundError):
        return ""
    if (error.name or "").partition(".")[0] != "torch":
        return ""
    return f'this command computes on PyTorch ({error}): pip install "dualnet[engine]"'


def require_torch() -> None:
    """For commands whose processes need PyTorch: refuse before they start.

    Raises:
        ModuleNotFoundError: It is not installed.
    """
    if importlib.util.find_spec("torch") is None:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")
