"""The chains that the campaign trains: the digits net, cut into pieces by `dualnet split`.

What is trained differs from training to training: the schedule, the rule and the carrier.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["LONGEST", "SCHEDULES", "Chain", "Variant"]

#: Blob and dual layer of each cut, by the number of pieces.
_CUTS = {
    2: (("pool2", "conv3"),),
    3: (("pool1", "conv2"), ("pool2", "conv3")),
    4: (("pool1", "conv2"), ("pool2", "conv3"), ("relu3", "conv4")),
}
#: The most pieces of a chain of the campaign.
LONGEST = max(_CUTS)
_DROPOUT = 'layer { name: "drop5" type: "Dropout" bottom: "ip1" top: "ip1" }\n'
_FOLDER = "nets"

SCHEDULES = {
    "alternating": (),
    "overlapped": ("train.schedule=overlapped",),
    "pipelined": ("train.schedule=pipelined", "train.micro_batches=4"),
}
_CARRIERS = ("files", "tcp")
#: `{last}` is the last cut, where alone `prox` may be asked for.
_RULES = {
    "gradient": ("update.rule=solver", "coupling.target=gradient", "coupling.tie=start"),
    "backprop": (
        "update.rule=manual", "coupling.target=backprop", "coupling.tie=never",
        "update.learning_rate=0.01",
    ),
    "prox": ("update.rule=solver", "coupling.target=gradient", "{last}.target=prox"),
    "updated": (
        "update.rule=manual", "coupling.target=updated", "coupling.tie=every",
        "update.learning_rate=0.01",
    ),
    "activation": ("update.rule=solver", "coupling.target=activation", "coupling.tie=never"),
}  # fmt: skip


@dataclass(frozen=True)
class Variant:
    """What one training does.

    Attributes:
        schedule, carrier, rule: how it is called.
        trained: `key=value` that decide what is trained.
    """

    schedule: str
    carrier: str
    rule: str
    trained: tuple[str, ...]

    @property
    def facts(self) -> dict[str, str]:
        """For a row."""
        return {"schedule": self.schedule, "carrier": self.carrier, "rule": self.rule}

    @property
    def settings(self) -> tuple[str, ...]:
        """`key=value` for `--set`."""
        return (*self.trained, f"exchange.carrier={self.carrier}")


@dataclass(frozen=True)
class Chain:
    """A chain of `pieces` pieces."""

    pieces: int

    @property
    def names(self) -> tuple[str, ...]:
        """The pieces, from the data to the loss."""
        return tuple(f"net{number}" for number in range(1, self.pieces + 1))

    @property
    def config(self) -> str:
        """Its YAML, below the lab's folder."""
        return f"{_FOLDER}/dual.yaml"

    @property
    def common(self) -> tuple[str, ...]:
        """`key=value` of every training.

        The nets bring what does not follow from the iteration alone: dropout, momentum, and a loss
        averaged over four iterations.
        """
        return (
            "train.max_iter=60", "train.display=1", "train.test_interval=13", "train.test_iter=2",
            "train.snapshot=5", "train.batch_size=8", "exchange.lock_dir=locks",
            *(f"{name}.threads=1" for name in self.names),
        )  # fmt: skip

    def others(self, name: str) -> tuple[str, ...]:
        """All pieces but one."""
        return tuple(other for other in self.names if other != name)

    def variants(self, carriers: Sequence[str] = _CARRIERS) -> list[Variant]:
        """What the trainings do in turn: neighbours in the list differ in schedule and rule."""
        pairs = [
            (schedule, rule)
            for rules in (("gradient", "backprop", "prox"), ("updated", "activation"))
            for shift in range(len(rules))
            for place, schedule in enumerate(SCHEDULES)
            for rule in (rules[(place + shift) % len(rules)],)
            # Which answers each batch with the weights after its update.
            if (schedule, rule) != ("pipelined", "updated")
        ]
        return [
            self.variant(schedule, carriers[(place + turn) % len(carriers)], rule)
            for turn in range(len(carriers))
            for place, (schedule, rule) in enumerate(pairs)
        ]

    def variant(self, schedule: str, carrier: str, rule: str) -> Variant:
        """One of them."""
        rules = (text.format(last=f"cut{self.pieces - 1}") for text in _RULES[rule])
        return Variant(schedule, carrier, rule, (*SCHEDULES[schedule], *rules))

    def write_single(self, root: Path, folder: Path) -> list[str]:
        """Write the net that is cut; returns the words of the command that cuts it.

        Args:
            root: the repository.
            folder: where the trainings are.
        """
        source = root / "prototxt" / "digits"
        net = (source / "single_train_test.prototxt").read_text()
        place = net.index('layer {\n  name: "ip2"')
        (folder / "single_train_test.prototxt").write_text(net[:place] + _DROPOUT + net[place:])
        solver = (source / "single_solver.prototxt").read_text()
        solver = re.sub(r'net: ".*"', 'net: "single_train_test.prototxt" average_loss: 4', solver)
        (folder / "single_solver.prototxt").write_text(solver)
        words = ["split", "single_train_test.prototxt", "-o", _FOLDER]
        for blob, dual in _CUTS[self.pieces]:
            words += ["--at", blob, "--dual", dual]
        return words
