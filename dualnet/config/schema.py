"""Every key of a run's YAML file, its default and its meaning.

Which of them may change from one start of a run to the next: fixed.py.

Where a default is `None`, the value of the solver's prototxt holds.
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass, field
from typing import Any, Callable, Optional, Union

import yaml

from dualnet.config.chain import SINGLE, name_sections, number_of, piece_names
from dualnet.config.exchange import Exchange
from dualnet.config.keys import key
from dualnet.config.targets import TARGETS, Target
from dualnet.errors import ConfigError

__all__ = [
    "Config",
    "Convergence",
    "Coupling",
    "Cut",
    "Exchange",
    "Liveness",
    "Piece",
    "Train",
    "Update",
    "default_run_dir",
]

PROVIDERS = ("auto", "engine", "bvlc")
TIES = ("never", "start", "every")
LOSSES = (
    "prototxt",
    "euclidean",
    "listing",
    "normalized",
    "normalized_constant",
    "relative",
    "none",
)
RULES = ("manual", "solver")
SCHEDULES = ("alternating", "overlapped", "pipelined")
ORDERS = ("1f1b", "gpipe")
ACTIONS = ("ignore", "warn", "stop")  # `off` would be read as false
#: What 0 does to an interval.
OFF = "switches it off"
TRACKING = ("none", "tensorboard")

#: Keys of `coupling` that a cut may have for itself.
_AT_A_CUT = ("target", "gamma", "loss", "loss_weight", "tie")


@dataclass(frozen=True)
class Piece:
    """One net: where its solver stands and what it runs on."""

    #: Solver prototxt; its `net` names the train_test prototxt. named_file.py says where both are
    #: looked for.
    solver: str = ""
    #: `cpu`, or the number of a GPU.
    device: Union[str, int] = "cpu"
    #: Processor cores that the process is bound to, as `0-3,8`; empty: all that it may use.
    cores: str = ""
    #: CPU threads, at most 4096, which PyTorch would try to start; 0 takes as many as it may use
    #: cores.
    threads: int = key(0, least=0, most=4096)
    #: Replaces the solver's base_lr and update.learning_rate in this net alone.
    learning_rate: Optional[float] = key(None, least=0)


@dataclass(frozen=True)
class Cut:
    """Where the net is cut, in the names of the prototxt of the pieces below and above.

    Below is the piece nearer to the data, above the one nearer to the loss: net1 and net2 in a
    chain of two.
    """

    #: Blobs that the piece below sends up; inputs of the same names feed the piece above.
    blobs: list[str] = field(default_factory=lambda: ["pool2"])
    #: Blobs of the data layers that travel with them as they are, without a gradient.
    labels: list[str] = field(default_factory=lambda: ["label"])
    #: The dual layers: the lower piece's layer and its copy in the upper one, in forward order.
    dual: dict[str, str] = field(default_factory=lambda: {"conv3": "conv3p"})
    #: What the lower piece's losses compare: its blob and the upper piece's, which is fed to it as
    #: an input of the same name. Empty: the outputs of the last pair of dual layers. A blob that
    #: crosses the cut beside the dual layers (a shortcut) needs a pair of its own.
    compared: dict[str, str] = field(default_factory=dict)
    #: As `coupling.target`, at this cut alone; null: as there.
    target: Optional[str] = key(None, one_of=(None, *TARGETS))
    #: As `coupling.gamma`, at this cut alone.
    gamma: Optional[float] = key(None, above=0)
    #: As `coupling.loss`, at this cut alone.
    loss: Optional[str] = key(None, one_of=(None, *LOSSES))
    #: As `coupling.loss_weight`, at this cut alone.
    loss_weight: Optional[float] = None
    #: As `coupling.tie`, at this cut alone.
    tie: Optional[str] = key(None, one_of=(None, *TIES))

    @property
    def pairs(self) -> dict[str, str]:
        """What is compared: the lower piece's blob to the name of what comes down.

        Where `compared` is empty, the last pair of dual layers, whose blobs only the nets know.
        """
        return self.compared or dict(list(self.dual.items())[-1:])


@dataclass(frozen=True)
class Train:
    """How long, how much, and what is shown on the way."""

    #: Iterations of the whole training. A finished run goes on if it is raised.
    max_iter: Optional[int] = key(None, least=1)
    #: Samples of a training batch, in every data layer of phase TRAIN.
    batch_size: Optional[int] = key(None, least=1)
    #: Test batches in each test.
    test_iter: Optional[int] = key(None, least=1)
    #: Iterations between two tests (0: no tests).
    test_interval: Optional[int] = key(None, least=0, zero=OFF)
    #: Iterations between log lines (0: none).
    display: Optional[int] = key(None, least=0, zero=OFF)
    #: Iterations between checkpoints, from which a piece can be started again (0: only a
    #: final snapshot; a piece that ends before cannot resume).
    snapshot: Optional[int] = key(None, least=0, zero=OFF)
    #: Checkpoints that stay (0: all).
    keep: int = 2
    #: How long finishing the iteration may take when a signal asks to stop; batch systems commonly
    #: kill 30 s after SIGTERM.
    stop_within_s: float = key(20.0, least=0)
    #: End with an error when a loss is NaN or infinite. Caffe trains on, and BVLC Caffe's MAX
    #: pooling then writes out of bounds (pooling_layer.cpp: no NaN is a maximum, its index is -1).
    stop_on_nan: bool = True
    #: `alternating` (thesis figure 8.1): one piece works while the others wait; `pipelined`: the
    #: batch goes up in `micro_batches` parts, one behind the other; `overlapped`: each piece sends
    #: up to `staleness` batches ahead of the answers for each piece above it.
    schedule: str = key("alternating", one_of=SCHEDULES)
    #: With `overlapped`: batches that a piece sends ahead for each piece above it.
    staleness: int = key(1, least=0, most=99)
    #: Parts that each training batch is taken in; their gradients add up to one update, as with the
    #: solver's iter_size. BatchNorm sees the parts and not the batch.
    micro_batches: int = key(1, least=1, most=99)
    #: With `pipelined`: `1f1b` sends as many parts ahead as there are pieces above; `gpipe` sends
    #: all before it takes the first answer.
    micro_batch_order: str = key("1f1b", one_of=ORDERS)
    #: What is done with the activations that wait for their answer: `keep` them (memory), or
    #: `recompute` them (time).
    stale_activations: str = key("keep", one_of=("keep", "recompute"))
    #: Momentum where answers come late, D updates: `interleaved` adds each gradient to the momentum
    #: of 2 D + 1 updates ago, which stays stable (dualnet/training/net/late_momentum.py); `solver`
    #: is Caffe's as it is.
    stale_momentum: str = key("interleaved", one_of=("interleaved", "solver"))
    #: Updates of the last piece on each batch; the first pass gives the answer.
    local_steps: int = key(1, least=1, most=99)
    #: Caffemodels, or Caffe's .h5, to start from, copied by layer name into every net that has the
    #: layers; net2's dual layers take net1's where no file has theirs.
    weights: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Coupling:
    """What net2 sends back, and which loss net1 puts on it (dualnet/coupling/)."""

    #: What the piece above a cut sends back; the table is in dualnet/coupling/__init__.py.
    target: str = key("gradient", one_of=tuple(TARGETS))
    #: Step of the gradient target, y - gamma*g. Large: see dualnet/coupling/.
    gamma: float = key(1000.0, above=0)
    #: Penalty of the prox target: it minimises L(z) + rho/2N |z - x|^2. Its error falls as 1/rho.
    rho: float = key(100.0, above=0)
    #: Penalty of the admm target in a batch's first alternation.
    beta: float = key(100.0, above=0)
    #: Factor of the penalty from one alternation to the next; 10 in the thesis.
    beta_growth: float = key(10.0, above=0)
    #: Largest penalty.
    beta_cap: float = key(1000.0, above=0)
    #: Alternations of the admm target on one batch; net1 makes an update in each.
    alternations: int = key(3, least=1, most=99)
    #: Gradient steps to prox's and admm's minimum.
    inner_steps: int = key(3, least=1, most=99)
    #: Length of these steps, in units of 1/rho (1/beta).
    inner_rate: float = key(1.0, above=0)
    #: net1's loss; `prototxt` leaves what net1's prototxt says, the others replace the layer.
    loss: str = key("prototxt", one_of=LOSSES)
    #: Weight of net1's loss; None is the one that gives the back-propagated gradient its length
    #: (1/gamma, rho, beta) where the target has one, else the prototxt's.
    loss_weight: Optional[float] = None
    #: When both copies of the dual layers get equal weights: `never`; `start`, once, those of the
    #: piece below; `every`, after each iteration, those of the piece above.
    tie: str = key("start", one_of=TIES)
    #: Iterations between measurements of how true net1's gradient is (0: none).
    fidelity_interval: int = key(0, least=0, zero=OFF)

    @property
    def rule(self) -> Target:
        """What the target sends, compares, needs and allows."""
        return TARGETS[self.target]


@dataclass(frozen=True)
class Update:
    """How weights change after the backward pass."""

    #: `manual`: w <- w - lr*diff, thesis equation (7.1); `solver`: Caffe's apply_update, with
    #: the solver's momentum, decay and lr policy.
    rule: str = key("solver", one_of=RULES)
    #: Replaces the solver's base_lr.
    learning_rate: Optional[float] = key(None, least=0)
    #: Gradient ascent: w <- w + lr*diff, the thesis's experiment of figure 10.5 (rule manual only);
    #: true, or the one piece that does, as `net1`.
    ascend: Union[bool, str] = False


@dataclass(frozen=True)
class Liveness:
    """Checks of whether net1 really learns; each is to `ignore`, `warn` (in the log) or `stop`."""

    #: Iterations between two checks (0: none).
    interval: int = key(100, least=0, zero=OFF)
    #: net1's weights below the cut have not changed since the last check.
    frozen: str = key("warn", one_of=ACTIONS)
    #: The mean length of net1's compared outputs has shrunk to `collapse_share` of its largest.
    collapse: str = key("warn", one_of=ACTIONS)
    #: The share of their largest length to which outputs may shrink.
    collapse_share: float = key(0.1, above=0, below=1)
    #: Three checked updates of net1 in succession increase its loss.
    ascent: str = key("warn", one_of=ACTIONS)


@dataclass(frozen=True)
class Convergence:
    """When to end before `train.max_iter` ("until some convergence criterion is met")."""

    #: Iterations in each of the two windows whose mean losses are compared (0: no criterion).
    window: int = key(0, least=0, zero=OFF)
    #: Ends when the later window's loss is lower by less than this share of the earlier one's.
    tolerance: float = key(0.001, least=0, below=1)
    #: Ends only if net1's outputs are also nearer to their targets than this share of their length
    #: (null: however far they are).
    residual: Optional[float] = key(None, above=0)


@dataclass(frozen=True)
class Config:
    """A whole run."""

    #: Shown in logs and figures.
    name: str = "run"
    #: The provider: `auto`, `engine` or `bvlc` (dualnet/backend.py).
    caffe: str = key("auto", one_of=PROVIDERS)
    #: Of fillers, dropout and data layers, in place of the solver's random_seed.
    seed: int = key(1, least=0, most=2**31 - 1)
    #: Where the series of the logs go beside them: `tensorboard` writes event files, which
    #: `tensorboard --logdir runs` draws while the training runs (pip install dualnet[tensorboard]).
    tracking: str = key("none", one_of=TRACKING)
    single: Piece = field(default_factory=Piece)
    #: From the data to the loss (chain.py says how the YAML spells them): net1, net2, …
    pieces: tuple[Piece, ...] = (Piece(), Piece())
    #: One between each piece and the next.
    cuts: tuple[Cut, ...] = (Cut(),)
    train: Train = field(default_factory=Train)
    coupling: Coupling = field(default_factory=Coupling)
    update: Update = field(default_factory=Update)
    liveness: Liveness = field(default_factory=Liveness)
    convergence: Convergence = field(default_factory=Convergence)
    exchange: Exchange = field(default_factory=Exchange)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the chain's pieces, from the data to the loss."""
        return piece_names(len(self.pieces))

    def pieces_above(self, name: str) -> int:
        """How many pieces lie between one and the loss, that with the loss included."""
        return len(self.pieces) - 1 - self.names.index(name) if name in self.names else 0

    def batches_ahead(self, name: str) -> int:
        """Batches that a piece may send up before the answer to an earlier one is applied.

        So many updates lie between a batch's forward pass and the update by its answer.
        """
        is_late = self.train.schedule == "overlapped"
        return self.train.staleness * self.pieces_above(name) if is_late else 0

    def piece(self, name: str) -> Piece:
        """The section of a piece: `net1`, `net2`, …; `single` is the uncut net.

        Raises:
            ConfigError: The chain has no such piece.
        """
        if name in self.names:
            return self.pieces[number_of(name) - 1]
        if name == SINGLE:
            return self.single
        raise ConfigError(
            f"config: {name}: no piece of this chain; its pieces are {', '.join(self.names)}"
        )

    def coupling_of(self, index: int) -> Coupling:
        """The rule at one cut: the section `coupling`, with what the cut says instead.

        Args:
            index: Its place among the cuts, from 0.
        """
        cut = self.cuts[index]
        own = {key: getattr(cut, key) for key in _AT_A_CUT if getattr(cut, key) is not None}
        return dataclasses.replace(self.coupling, **own)

    def with_files(self, change: Callable[[str], str]) -> Config:
        """The same with other paths of the files that it names.

        Args:
            change: From a path to another; an empty one is left alone.
        """

        def changed(piece: Piece) -> Piece:
            return dataclasses.replace(piece, solver=piece.solver and change(piece.solver))

        train = dataclasses.replace(self.train, weights=[*map(change, self.train.weights)])
        pieces = tuple(map(changed, self.pieces))
        return dataclasses.replace(self, single=changed(self.single), pieces=pieces, train=train)

    def to_dict(self) -> dict[str, Any]:
        """The configuration as plain nested dictionaries, every default filled in."""
        values = dataclasses.asdict(self)
        return name_sections({**values, "pieces": list(values["pieces"]),
                              "cuts": list(values["cuts"])})  # fmt: skip

    def to_yaml(self) -> str:
        """The configuration as YAML, every default filled in."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False, default_flow_style=False)


def default_run_dir(config: Config, now: str) -> str:
    """`runs/NAME-TIME`, for commands that were given no run directory."""
    return os.path.join("runs", f"{config.name}-{now}")
