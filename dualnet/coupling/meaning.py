"""What the loss in a piece's log means, which depends on the rule at the cut above it.

The last piece's loss is the one on the labels: the loss that counts. Any other piece's is a measure
of what comes down to it. With target `gradient`, z = y - gamma g and x = y, it is

    |x - z|^2 / (2 gamma N) = gamma/2 |g|^2 / N

that is how long the gradient is, which grows for much of a training that goes well.
"""

from __future__ import annotations

from dataclasses import dataclass

from dualnet.config import Config, Coupling, above

__all__ = ["COUNTING", "Meaning", "meaning_of"]

#: What the loss of the last piece, and of the single net, is called.
COUNTING = "loss on the labels"

#: What is measured by the rules that compare x with z, {} being the piece above.
_MEASURED = {
    "gradient": "size of the gradient from {}",
    "prox": "size of the proximal step from {}",
    "admm": "size of the first ADMM step from {}",
    "activation": "distance to outputs from {}",
    "updated": "distance to updated outputs from {}",
}


@dataclass(frozen=True)
class Meaning:
    """What one piece's loss says.

    Attributes:
        name: What it is, in a few words: "size of the gradient from net2".
        kind: The same of any piece: "size of the gradient from above".
        trend: How it goes where all is well; "" for the loss that counts.
        target: The rule that makes it so; "" for the loss that counts.
        last: The piece whose loss counts.
        counts: Whether this is that loss.
        is_repeated: Whether it only repeats it.
    """

    name: str
    kind: str
    trend: str
    target: str
    last: str
    counts: bool = False
    is_repeated: bool = False

    @property
    def sentence(self) -> str:
        """For the piece's log."""
        if self.counts:
            return f"The loss in this log is the one that counts, the {self.name}"
        return (
            f"The loss in this log is the {self.name} (target {self.target}), and {self.trend}; "
            f"the one that counts is {self.last}'s, on the labels"
        )


def meaning_of(config: Config, piece: str) -> Meaning:
    """What a piece's loss means.

    Args:
        config: The run.
        piece: A piece of its chain, or `single`.
    """
    end, last = above(config, piece), config.names[-1]
    if end is None:
        return Meaning(COUNTING, COUNTING, "", "", piece, counts=True)
    coupling, target = end.coupling, end.coupling.target
    if coupling.rule.compares:
        words = _relative(coupling) + _MEASURED[target]
        name, kind = words.format(end.upper), words.format("above")
        return Meaning(name, kind, _trend(coupling), target, last)
    # The loss comes down with the answer, so that it is what it is in the piece above.
    upper = meaning_of(config, end.upper)
    is_repeated = upper.counts or upper.is_repeated
    name = f"{COUNTING} of {last}" if is_repeated else upper.name
    trend = "comes down with each answer"
    if target == "frozen":
        trend += " while this piece learns nothing"
    return Meaning(name, upper.kind, trend, target, last, is_repeated=is_repeated)


def _relative(coupling: Coupling) -> str:
    is_relative = coupling.loss in ("normalized", "normalized_constant", "relative")
    return "relative " if is_relative else ""


def _trend(coupling: Coupling) -> str:
    if coupling.loss == "none" or coupling.loss_weight == 0:
        return "without weight: this piece learns nothing"
    if coupling.rule.reads_gradients:
        return "not meant to fall"
    return "falls as both agree, even on zeros"
