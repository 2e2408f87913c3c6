"""In which order a piece works on its batches: the three schedules as data.

A piece does two things with a batch: it takes it up (`Up`: forward to the cut above, and on its way
to the piece there) and, once the answer has come, down (`Down`: backward, its own answer to the
piece below, and the update after the last batch of an iteration). A schedule says how many batches
may be up before the answer to an earlier one is taken. For piece k of K, from the data to the loss,
with M batches an iteration (`train.micro_batches` times the solver's `iter_size`):

    alternating   none                      thesis, figure 8.1: one works while the others wait
    pipelined     K - k, or all M (gpipe)   of the same iteration: an update knows of all before it
    overlapped    S (K - k) iterations      nobody waits; gradients are so many updates late

Three pieces, pipelined with M = 4 in the order 1f1b, time to the right; u: up, d: down:

    net1   u0 u1 u2 d0 u3 d1    d2    d3 | u0 …
    net2      u0 u1 d0 u2 d1 u3 d2    d3 |
    net3         u0d0  u1d1  u2d2  u3d3  |

The order is fixed before the training begins. No piece chooses at run time whose message it reads
next, which is why a restart repeats a training to the bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Union

from dualnet.config import Config
from dualnet.training.loop.micro_batch import MicroBatch, micro_batches

__all__ = ["Action", "Down", "Lookahead", "Up", "actions", "lookahead"]


@dataclass(frozen=True)
class Up:
    """Take a batch: forward to the cut above, and send it on."""

    batch: MicroBatch


@dataclass(frozen=True)
class Down:
    """Take its answer: backward, answer the piece below, update after an iteration's last one."""

    batch: MicroBatch


Action = Union[Up, Down]


@dataclass(frozen=True)
class Lookahead:
    """How far a piece runs ahead of its answers.

    Attributes:
        iterations: Updates between a batch's way up and the one by its answer.
        batches: The most batches that are up while the answer to an earlier one is awaited; so
            many sets of activations are held besides that one's.
    """

    iterations: int = 0
    batches: int = 0

    def last_to_send(self, batch: MicroBatch, last_iteration: int) -> int:
        """Number of the last batch that may go up before the answer to `batch` is taken.

        Args:
            batch: The one whose answer comes next.
            last_iteration: The last iteration whose batches may go up now
                (`Session.last_iteration_to_send`).
        """
        end = (max(last_iteration, batch.iteration) + 1) * batch.parts - 1
        return min(batch.number + self.batches, end)


def lookahead(config: Config, name: str, parts: int) -> Lookahead:
    """How far ahead of its answers a piece of this run sends batches.

    Args:
        config: The run.
        name: The piece.
        parts: Batches of an iteration.
    """
    train, above = config.train, config.pieces_above(name)
    if train.schedule == "overlapped":
        iterations = config.batches_ahead(name)
        return Lookahead(iterations, iterations * parts)
    if train.schedule == "pipelined" and above:
        most = parts - 1
        return Lookahead(0, most if train.micro_batch_order == "gpipe" else min(above, most))
    return Lookahead()


def actions(
    iteration: int, parts: int, sent: int, ahead: Lookahead, last_iteration: int
) -> Iterator[Action]:
    """What a piece does in one iteration, in order; it ends with the answer to its last batch.

    Args:
        iteration: Updates done before it.
        parts: Batches of an iteration.
        sent: Batches of the training that are up already.
        ahead: See `lookahead`.
        last_iteration: See `Lookahead.last_to_send`.
    """
    for batch in micro_batches(iteration, parts):
        last = ahead.last_to_send(batch, last_iteration)
        while sent <= last:
            yield Up(MicroBatch.numbered(sent, parts))
            sent += 1
        yield Down(batch)
