"""A run's YAML file as validated dataclasses: every key, its default and its meaning.

Unknown and mistyped keys are errors that list the valid ones; nothing is read from anywhere else.
Where a default is `None`, the value of the solver's prototxt holds.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import os
import typing
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Optional, Union

import yaml

from dualnet.errors import ConfigError

__all__ = [
    "Config",
    "Half",
    "Cut",
    "Train",
    "Coupling",
    "Update",
    "Exchange",
    "load",
    "load_run",
    "from_dict",
]

#: Name of the resolved configuration in a run directory.
CONFIG_NAME = "config.yaml"

PROVIDERS = ("auto", "engine", "bvlc")
TARGETS = ("activation", "updated", "gradient")
TIES = ("never", "start", "every")
LOSSES = ("prototxt", "euclidean", "listing", "normalized", "normalized_constant", "none")
RULES = ("manual", "solver")
CARRIERS = ("files",)
FILESYSTEMS = ("auto", "local", "nfs")


def _one_of(*values: str, default: str) -> Any:
    return field(default=default, metadata={"one_of": values})


@dataclass(frozen=True)
class Half:
    """One net: where its solver stands and what it runs on."""

    #: Solver prototxt; its `net` names the train_test prototxt. Relative to the working directory.
    solver: str = ""
    #: `cpu`, or the number of a GPU.
    device: Union[str, int] = "cpu"
    #: CPU threads; 0 takes all cores that this process may use.
    threads: int = 0


@dataclass(frozen=True)
class Cut:
    """Where the single net is cut, in the names of net1's and net2's prototxt."""

    #: Blob that net1 sends up; an input of the same name feeds net2.
    blob: str = "pool2"
    #: Blob of labels in net1's data layer that travels with it.
    label: str = "label"
    #: The dual layers: net1's layer and its copy in net2, in forward order. The output of the
    #: last pair is compared; net2's is fed to net1 as an input of the same name.
    dual: dict[str, str] = field(default_factory=lambda: {"conv3": "conv3p"})


@dataclass(frozen=True)
class Train:
    """How long, how much, and what is shown on the way."""

    max_iter: Optional[int] = None
    #: Samples of a training batch, in every data layer of phase TRAIN.
    batch_size: Optional[int] = None
    #: Test batches a test, and iterations between tests (0: no tests).
    test_iter: Optional[int] = None
    test_interval: Optional[int] = None
    #: Iterations between log lines (0: none).
    display: Optional[int] = None
    #: Iterations between checkpoints, from which a half can be started again (0: only a final
    #: snapshot; a half that ends before cannot go on).
    snapshot: Optional[int] = None
    #: Checkpoints that stay (0: all).
    keep: int = 2
    #: How long finishing the iteration may take when a signal asks to stop; batch systems commonly
    #: kill 30 s after SIGTERM.
    stop_within_s: float = 20.0
    #: End with an error when a loss is no finite number. Caffe trains on, and BVLC Caffe's MAX
    #: pooling then writes out of bounds (pooling_layer.cpp: no NaN is a maximum, its index is -1).
    stop_on_nan: bool = True
    #: Caffemodels to start from, copied by layer name into every net that has the layers.
    weights: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Coupling:
    """What net2 sends back, and which loss net1 puts on it (dualnet/coupling.py)."""

    target: str = _one_of(*TARGETS, default="gradient")
    #: Step of the gradient target, y - gamma*g. Large: see dualnet/coupling.py.
    gamma: float = 1000.0
    #: net1's loss; `prototxt` leaves what net1's prototxt says, the others replace the layer.
    loss: str = _one_of(*LOSSES, default="prototxt")
    #: Weight of net1's loss; None is 1/gamma for the gradient target, else the prototxt's.
    loss_weight: Optional[float] = None
    tie: str = _one_of(*TIES, default="start")


@dataclass(frozen=True)
class Update:
    """How weights change after the backward pass."""

    #: `manual`: w <- w - lr*diff, thesis equation (7.1); `solver`: Caffe's apply_update, with
    #: the solver's momentum, decay and lr policy.
    rule: str = _one_of(*RULES, default="solver")
    #: Replaces the solver's base_lr.
    learning_rate: Optional[float] = None


@dataclass(frozen=True)
class Exchange:
    """How the halves talk (docs/exchange.md)."""

    carrier: str = _one_of(*CARRIERS, default="files")
    #: Longest wait for the other half to appear.
    partner_timeout_s: float = 600.0
    #: A partner whose heartbeat stands still for so long is dead.
    dead_after_s: float = 60.0
    #: A partner that lives but makes no progress for so long, while we wait for it, is hung.
    hang_timeout_s: float = 1800.0
    #: Where there are checkpoints: how long the other half waits for one that died or was stopped
    #: to be started again.
    restart_grace_s: float = 600.0
    #: How long a full or failing disk is retried before the run gives up.
    storage_timeout_s: float = 300.0
    #: Longest pause between two looks for the partner's message; 0: 0.02 on a local disk, 0.05 on
    #: a network one.
    poll_cap_s: float = 0.0
    #: `local`, `nfs` (any network file system: messages are flushed), or `auto`.
    filesystem: str = _one_of(*FILESYSTEMS, default="auto")
    #: Check the digest of every array read.
    verify: bool = True
    #: The most that one half's messages may take on the disk; where there are checkpoints, those of
    #: about three intervals are kept.
    disk_budget_bytes: int = 16 << 30


@dataclass(frozen=True)
class Config:
    """A whole run."""

    #: Shown in logs and figures.
    name: str = "run"
    caffe: str = _one_of(*PROVIDERS, default="auto")
    seed: int = 1
    single: Half = field(default_factory=Half)
    net1: Half = field(default_factory=Half)
    net2: Half = field(default_factory=Half)
    cut: Cut = field(default_factory=Cut)
    train: Train = field(default_factory=Train)
    coupling: Coupling = field(default_factory=Coupling)
    update: Update = field(default_factory=Update)
    exchange: Exchange = field(default_factory=Exchange)

    def half(self, role: str) -> Half:
        """The section of a role, one of `single`, `net1`, `net2`."""
        return typing.cast(Half, getattr(self, role))

    def to_dict(self) -> dict[str, Any]:
        """The configuration as plain nested dictionaries, every default filled in."""
        return dataclasses.asdict(self)

    def to_yaml(self) -> str:
        """The configuration as YAML, every default filled in."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False, default_flow_style=False)

    def identity(self) -> str:
        """SHA-256 of what both halves of one run must agree on: all but devices and waits."""
        kept = self.to_dict()
        for role in ("single", "net1", "net2"):
            kept[role] = {"solver": kept[role]["solver"]}
        for key in ("keep", "stop_within_s"):
            del kept["train"][key]
        kept["exchange"] = {"carrier": kept["exchange"]["carrier"]}
        return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def load(path: str, overrides: Sequence[str] = ()) -> Config:
    """Read and check a YAML file.

    Args:
        path: The file.
        overrides: `key.path=value` strings as of `--set`, applied in order; values are YAML.

    Raises:
        ConfigError: The file cannot be read, or a key or value is not valid.
    """
    try:
        with open(path, encoding="utf-8") as file:
            raw = yaml.safe_load(file)
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the config: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML: {_in_one_line(error)}") from error
    if raw is None:
        raw = {}
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: expected keys and values, found {type(raw).__name__}")
    for override in overrides:
        _apply_override(raw, override)
    return from_dict(raw, path)


def load_run(run_dir: str) -> Config:
    """The resolved configuration that a run has left in its directory.

    Raises:
        ConfigError: There is none, so this is no run directory.
    """
    path = os.path.join(run_dir, CONFIG_NAME)
    if not os.path.exists(path):
        raise ConfigError(f"{run_dir}: no run here (no {CONFIG_NAME} in it)")
    return load(path)


def from_dict(raw: dict[str, Any], source: str = "config") -> Config:
    """Build a Config from nested dictionaries, checking every key and value.

    Raises:
        ConfigError: An unknown key, a value of the wrong type, or one that makes no sense.
    """
    config = typing.cast(Config, _build(Config, raw, "", source))
    _check_values(config, source)
    return config


def _build(cls: type[Any], raw: Any, prefix: str, source: str) -> Any:
    if raw is None:
        raw = {}  # a section whose keys are all commented out
    if not isinstance(raw, dict):
        raise ConfigError(f"{source}: {prefix[:-1]}: expected keys and values, found {raw!r}")
    hints = typing.get_type_hints(cls)
    names = [f.name for f in dataclasses.fields(cls)]
    values = {}
    for key, value in raw.items():
        if key not in names:
            close = difflib.get_close_matches(str(key), names, n=1)
            hint = f"did you mean {prefix}{close[0]}? " if close else ""
            where = f"in {prefix[:-1]}" if prefix else "at the top level"
            raise ConfigError(
                f"{source}: unknown key {prefix}{key}; {hint}valid keys {where}: {', '.join(names)}"
            )
        hint_type = hints[key]
        if dataclasses.is_dataclass(hint_type):
            values[key] = _build(typing.cast(type, hint_type), value, f"{prefix}{key}.", source)
        else:
            values[key] = _typed(value, hint_type, f"{prefix}{key}", source)
    built = cls(**values)
    for f in dataclasses.fields(cls):
        allowed = f.metadata.get("one_of")
        if allowed and getattr(built, f.name) not in allowed:
            raise ConfigError(
                f"{source}: {prefix}{f.name}: {getattr(built, f.name)!r} is none of "
                f"{', '.join(allowed)}"
            )
    return built


def _typed(value: Any, hint: Any, key: str, source: str) -> Any:
    """`value` as the annotated type, or a ConfigError that names both."""
    options = typing.get_args(hint) if typing.get_origin(hint) is Union else (hint,)
    for option in options:
        if option is type(None):
            if value is None:
                return None
        elif option is float:
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                return float(value)
            # YAML reads 1e-3 as a string, for want of a dot.
            if isinstance(value, str) and _is_number(value):
                return float(value)
        elif option is int:
            if isinstance(value, int) and not isinstance(value, bool):
                return value
        elif typing.get_origin(option) is list:
            if isinstance(value, list) and all(isinstance(item, str) for item in value):
                return value
        elif typing.get_origin(option) is dict:
            if isinstance(value, dict) and all(
                isinstance(item, str) for pair in value.items() for item in pair
            ):
                return value
        elif isinstance(value, option):
            return value
    names = " or ".join(_type_name(option) for option in options)
    raise ConfigError(f"{source}: {key}: expected {names}, found {value!r}")


def _type_name(option: Any) -> str:
    origin = typing.get_origin(option)
    if origin is list:
        return "a list of strings"
    if origin is dict:
        return "a mapping of names to names"
    if option is type(None):
        return "null"
    return {int: "an integer", float: "a number", str: "a string"}.get(option, option.__name__)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _apply_override(raw: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    if not equals or not path.strip():
        raise ConfigError(f"--set {override}: expected key.path=value, as in train.max_iter=100")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {override}: not a YAML value: {_in_one_line(error)}") from error
    *parents, last = path.strip().split(".")
    node = raw
    for parent in parents:
        if node.get(parent) is None:
            node[parent] = {}
        child = node[parent]
        if not isinstance(child, dict):
            raise ConfigError(f"--set {override}: {parent} is a value, it has no key {last}")
        node = child
    node[last] = value


def _check_values(config: Config, source: str) -> None:
    """Checks that need no net: ranges, and values that exclude each other."""
    train = config.train
    for key in ("max_iter", "batch_size", "test_iter"):
        value = getattr(train, key)
        if value is not None and value < 1:
            raise ConfigError(f"{source}: train.{key}: {value} is not positive")
    for key in ("test_interval", "display", "snapshot"):
        value = getattr(train, key)
        if value is not None and value < 0:
            raise ConfigError(f"{source}: train.{key}: {value} is negative; 0 switches it off")
    if train.keep == 1 or train.keep < 0:
        raise ConfigError(
            f"{source}: train.keep: {train.keep}; keep 2 or more, as the latest may be damaged, "
            "or 0 for all"
        )
    if not train.stop_within_s >= 0:
        raise ConfigError(f"{source}: train.stop_within_s: {train.stop_within_s} is negative")
    if not 0 <= config.seed < 2**31:
        raise ConfigError(f"{source}: seed: {config.seed} is not within 0 and 2147483647")
    if not config.coupling.gamma > 0:
        raise ConfigError(f"{source}: coupling.gamma: {config.coupling.gamma} is not positive")
    rate = config.update.learning_rate
    if rate is not None and not rate >= 0:
        raise ConfigError(f"{source}: update.learning_rate: {rate} is negative")
    for role in ("single", "net1", "net2"):
        half = config.half(role)
        is_gpu = isinstance(half.device, int) and half.device >= 0
        if half.device != "cpu" and not is_gpu:
            raise ConfigError(
                f"{source}: {role}.device: {half.device!r} is neither cpu nor the number of a GPU"
            )
        if half.threads < 0:
            raise ConfigError(f"{source}: {role}.threads: {half.threads} is negative; 0 means all")
    if not config.cut.dual:
        raise ConfigError(f"{source}: cut.dual: empty; name net1's layer and its copy in net2")
    for f in dataclasses.fields(config.exchange):
        value = getattr(config.exchange, f.name)
        if isinstance(value, (int, float)) and not value >= 0:
            raise ConfigError(f"{source}: exchange.{f.name}: {value} is negative")
    _check_coupling(config.coupling, source)


def _check_coupling(coupling: Coupling, source: str) -> None:
    """Refuse combinations in which net1 cannot learn what the user asks for."""
    if coupling.target == "activation" and coupling.tie == "every":
        raise ConfigError(
            f"{source}: coupling.tie: every with target activation compares conv3 with an exact "
            "copy of itself: the loss is zero and net1 learns nothing; use target updated or "
            "gradient"
        )
    if coupling.loss == "none" and coupling.loss_weight:
        raise ConfigError(
            f"{source}: coupling.loss_weight: {coupling.loss_weight} with loss none; drop one"
        )


def default_run_dir(config: Config, now: str) -> str:
    """`runs/NAME-TIME`, for commands that were given no run directory."""
    return os.path.join("runs", f"{config.name}-{now}")


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split())
