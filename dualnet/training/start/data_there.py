"""Whether the data that a piece trains on are there, before anything is written or started."""

from __future__ import annotations

from dualnet.cut.data_files import missing_file
from dualnet.data.recipes import command_for
from dualnet.errors import ConfigError
from dualnet.training.net.resolve import Resolved

__all__ = ["require_data"]


def require_data(resolved: Resolved) -> None:
    """Refuse to begin without the data, and name the command that makes them.

    Args:
        resolved: The piece's solver and nets; the test net counts where it is tested.

    Raises:
        ConfigError: A data layer's source or mean is not there.
    """
    nets = [resolved.train, *([resolved.test] if resolved.solver.test_iter else [])]
    for net in nets:
        for layer in net.layers:
            missing = missing_file(layer, net.path)
            if missing is None:
                continue
            command = command_for(missing.path)
            remedy = f"make it with: {command}" if command else "make it, or correct the path"
            raise ConfigError(f"{net.path}: layer {layer.name}: {missing}; {remedy}")
