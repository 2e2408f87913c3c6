"""A run's YAML file as validated dataclasses. Nothing is read from anywhere else."""

from dualnet.config.cut_end import CutEnd, above, below
from dualnet.config.fixed import FREE, changed_keys, fixed_values
from dualnet.config.load import from_dict, load, load_run
from dualnet.config.schema import (
    Config,
    Convergence,
    Coupling,
    Cut,
    Exchange,
    Liveness,
    Piece,
    Train,
    Update,
    default_run_dir,
)

__all__ = [
    "Config",
    "Convergence",
    "Coupling",
    "Cut",
    "CutEnd",
    "Exchange",
    "FREE",
    "Liveness",
    "Piece",
    "Train",
    "Update",
    "above",
    "below",
    "changed_keys",
    "default_run_dir",
    "fixed_values",
    "from_dict",
    "load",
    "load_run",
]
