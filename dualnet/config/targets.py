"""The rules of `coupling.target` in one table: what each sends, compares, needs and allows.

Below and above are the two pieces at a cut. What crosses it for one batch, in order:

    target        up                        down
    activation,   cut blobs, labels         z, one for each compared pair
    updated,
    gradient
    prox          cut blobs, labels; x      z
    admm          cut blobs, labels; then, for each alternation, x up and z down
    backprop      cut blobs, labels         dL/d(cut blob) for each, the loss
    frozen        cut blobs, labels         the loss

x are the lower piece's compared blobs, z what they are compared with (dualnet/coupling).
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["TARGETS", "Target"]


@dataclass(frozen=True)
class Target:
    """One rule.

    Attributes:
        compares: The lower piece has a loss on pairs of blobs, its own and what comes down.
        sends_gradients: What comes down is dL/d(cut blob), and the loss.
        reads_gradients: z is made from gradients of the upper piece's compared blobs.
        asks_at_points: The upper piece is asked for its loss at outputs of the lower one, which
            only the piece that has the labels' loss can answer: the rule of the last cut alone.
        alternates: The lower piece makes several updates on a batch.
        answers_late: z is made after the upper piece's update.
        one_batch_an_update: Why an update cannot take several batches; "" where it can.
        in_turns: Why a batch has to be answered before the next goes up; "" where it has not.
    """

    compares: bool = True
    sends_gradients: bool = False
    reads_gradients: bool = False
    asks_at_points: bool = False
    alternates: bool = False
    answers_late: bool = False
    one_batch_an_update: str = ""
    in_turns: str = ""

    @property
    def sends_loss(self) -> bool:
        """Whether the loss comes down: the lower piece computes none on the pairs."""
        return not self.compares


TARGETS: dict[str, Target] = {
    "activation": Target(),
    "updated": Target(
        answers_late=True,
        one_batch_an_update="which answers each batch with the weights after its update",
    ),
    "gradient": Target(reads_gradients=True),
    "prox": Target(reads_gradients=True, asks_at_points=True),
    "admm": Target(
        reads_gradients=True,
        asks_at_points=True,
        alternates=True,
        one_batch_an_update="which makes an update at each alternation on a batch",
        in_turns="whose alternations need each answer before the next batch",
    ),
    "backprop": Target(compares=False, sends_gradients=True),
    "frozen": Target(compares=False),
}
