"""Chains of pieces: which there are, and what one takes under a schedule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Callable, Optional

from dualnet.cut.plan.cuts import Cut, can_follow
from dualnet.cut.plan.estimate import Costs, LinkCost, PieceCost
from dualnet.cut.plan.schedule_time import Iteration, LinkTime, Polling, Schedule, play
from dualnet.cut.plan.search import Found, frontier

__all__ = ["Chain", "Outcome", "Setting", "chain_of", "fastest_chain", "smallest_chain"]

#: A chain counts as good as the one that needs least memory if it needs so much more at most.
TOLERANCE = 0.05
#: How many of the fastest chains are varied.
_VARIED = 4


@dataclass(frozen=True)
class Setting:
    """A schedule on a machine.

    Attributes:
        costs: Of a part: a batch, or a micro-batch where the schedule is pipelined.
        schedule: The schedule of a chain, by its number of pieces.
        processors: How many pieces compute at a time; None: each has its own.
        polling: How late waiting pieces find their messages.
    """

    costs: Costs
    schedule: Callable[[int], Schedule]
    processors: Optional[int] = None
    polling: Polling = Polling()

    def edge(
        self, below: Optional[Cut], above: Optional[Cut], is_first: bool, schedule: Schedule
    ) -> tuple[float, float]:
        """What a piece adds to a batch's way up and down, and its load; the link above included."""
        piece = self.costs.piece(below, above)
        # A pipelined iteration is filled and drained once, and each further part adds the peak.
        parts, update_s = (1, 0.0) if schedule.barrier else (schedule.parts, piece.update_s)
        link = self.costs.link(above).time if above else LinkTime()
        way_s = piece.forward_s + piece.backward_s + link.up.one_way_s + link.down.one_way_s
        busy_s = _busy_s(piece, *self._links(below, above))
        peak_s = max(busy_s, link.up.transit_s, link.down.transit_s)
        return (
            parts * way_s + (piece.update_s if is_first else 0.0),
            parts * peak_s + update_s,
        )

    def _links(self, below: Optional[Cut], above: Optional[Cut]) -> tuple[LinkTime, LinkTime]:
        found = [self.costs.link(cut).time if cut else LinkTime() for cut in (below, above)]
        return found[0], found[1]


@dataclass(frozen=True)
class Outcome:
    """A chain under one schedule.

    Attributes:
        schedule: The schedule.
        pieces, links: Their costs, of a part.
        memory_bytes: Of each piece, with the activations that the schedule keeps.
        loads_s: What each piece is busy with in an iteration.
        processors: How many pieces compute at a time; None: all.
        iteration: It and its spans.
    """

    schedule: Schedule
    pieces: list[PieceCost]
    links: list[LinkCost]
    memory_bytes: list[int]
    loads_s: list[float]
    processors: Optional[int]
    iteration: Iteration

    @property
    def seconds(self) -> float:
        """Of an iteration."""
        return self.iteration.seconds

    @property
    def largest_bytes(self) -> int:
        """Memory of the largest piece."""
        return max(self.memory_bytes)

    @property
    def shared_s(self) -> float:
        """All pieces' loads over the processors that they share; 0 where each has its own."""
        return sum(self.loads_s) / self.processors if self.processors else 0.0

    @property
    def bound_s(self) -> float:
        """What no order of the same work can be faster than."""
        return max(*self.loads_s, self.shared_s)

    @property
    def busiest(self) -> int:
        """The place of the piece with the largest load, from 0."""
        return self.loads_s.index(max(self.loads_s))


@dataclass(frozen=True)
class Chain:
    """Pieces between cuts.

    Attributes:
        cuts: From the data's; one less than pieces.
        outcomes: By the schedule's name.
    """

    cuts: tuple[Cut, ...]
    outcomes: dict[str, Outcome]

    @property
    def names(self) -> list[str]:
        """Of its pieces."""
        return [f"net{place + 1}" for place in range(len(self.cuts) + 1)]


def chain_of(cuts: Sequence[Cut], settings: dict[str, Setting]) -> Chain:
    """A chain, played under each schedule."""
    return Chain(tuple(cuts), {name: _play(cuts, setting) for name, setting in settings.items()})


def fastest_chain(
    cuts: Sequence[Cut], pieces: int, setting: Setting, limit_bytes: Optional[int] = None
) -> Optional[tuple[Cut, ...]]:
    """The cuts of the fastest chain whose pieces need at most `limit_bytes` each; None if none.

    Every chain of the frontier of (sum, peak) is played. Sum and peak do not know the round trips
    between some of the pieces alone, nor that forward and backward may be slowest in two pieces:
    the fastest chains are therefore tried with each of their cuts moved, until the few that are
    fastest then are known in all such variants.
    """
    found = _frontier(cuts, pieces, setting, limit_bytes, by_memory=False)
    played = {chain.cuts: _seconds(cuts, chain.cuts, setting) for chain in found}
    possible = _Pieces(cuts, pieces, setting, limit_bytes)
    varied: set[tuple[int, ...]] = set()
    while True:
        few = sorted(played, key=lambda chain: played[chain])[:_VARIED]
        chain = next((chain for chain in few if chain not in varied), None)
        if chain is None:
            return tuple(cuts[number] for number in few[0]) if few else None
        varied.add(chain)
        for place in range(len(chain)):
            for number in range(len(cuts)):
                moved = (*chain[:place], number, *chain[place + 1 :])
                if moved not in played and possible.all_of(moved):
                    played[moved] = _seconds(cuts, moved, setting)


def smallest_chain(cuts: Sequence[Cut], pieces: int, setting: Setting) -> Optional[tuple[Cut, ...]]:
    """The chain of least sum whose largest piece is within 5 % of the least possible."""
    chains = _frontier(cuts, pieces, setting, None, by_memory=True)
    if not chains:
        return None
    most = (1 + TOLERANCE) * chains[-1].peak
    found = next(chain for chain in chains if chain.peak <= most)
    return tuple(cuts[number] for number in found.cuts)


def _frontier(
    cuts: Sequence[Cut],
    pieces: int,
    setting: Setting,
    limit_bytes: Optional[int],
    by_memory: bool,
) -> list[Found]:
    """The chains that may be best; the peak is the load in seconds, or the memory in bytes."""
    possible = _Pieces(cuts, pieces, setting, limit_bytes)

    def cost(place: int, below: int, above: int) -> Optional[tuple[float, float]]:
        if not possible(place, below, above):
            return None
        total, load_s = setting.edge(
            possible.ends[below], possible.ends[above], place == 0, possible.schedule
        )
        return total, (possible.memory(place, below, above) if by_memory else load_s)

    return list(frontier(len(cuts), pieces, cost))


class _Pieces:
    """Which pieces there can be at each place of a chain; cuts are numbers, -1 and all are ends."""

    def __init__(
        self, cuts: Sequence[Cut], pieces: int, setting: Setting, limit_bytes: Optional[int]
    ) -> None:
        self.ends: list[Optional[Cut]] = [*cuts, None]  # -1 and len(cuts) both find the None
        self.schedule = setting.schedule(pieces)
        self._costs, self._limit_bytes = setting.costs, limit_bytes
        self._top = len(cuts)
        self._follows = [[can_follow(low, high) for high in cuts] for low in cuts]

    def __call__(self, place: int, below: int, above: int) -> bool:
        """Whether two cuts can follow each other, and the piece between them fits."""
        if below >= 0 and above < self._top and not self._follows[below][above]:
            return False
        return self._limit_bytes is None or self.memory(place, below, above) <= self._limit_bytes

    def memory(self, place: int, below: int, above: int) -> int:
        """Bytes of a piece with the activations that it keeps at this place."""
        piece = self._costs.piece(self.ends[below], self.ends[above])
        return piece.memory_bytes(self.schedule.kept[place])

    def all_of(self, chain: Sequence[int]) -> bool:
        """Whether all of a chain's pieces are possible."""
        ends = [-1, *chain, self._top]
        pairs = list(zip(ends, ends[1:]))
        return all(below < above for below, above in pairs) and all(
            self(place, *pair) for place, pair in enumerate(pairs)
        )


def _seconds(cuts: Sequence[Cut], chain: Sequence[int], setting: Setting) -> float:
    return _play([cuts[number] for number in chain], setting).seconds


def _play(cuts: Sequence[Cut], setting: Setting) -> Outcome:
    ends = [None, *cuts, None]
    pieces = [setting.costs.piece(*pair) for pair in zip(ends, ends[1:])]
    links = [setting.costs.link(cut) for cut in cuts]
    times = [LinkTime(), *(link.time for link in links), LinkTime()]
    schedule = setting.schedule(len(pieces))
    iteration = play(
        [piece.time for piece in pieces], times[1:-1], schedule, setting.processors, setting.polling
    )
    return Outcome(
        schedule,
        pieces,
        links,
        [piece.memory_bytes(kept) for piece, kept in zip(pieces, schedule.kept)],
        [
            schedule.parts * _busy_s(piece, below, above) + piece.update_s
            for piece, below, above in zip(pieces, times, times[1:])
        ],
        setting.processors,
        iteration,
    )


def _busy_s(piece: PieceCost, below: LinkTime, above: LinkTime) -> float:
    """A piece's work on one part, with its share of the messages."""
    messages_s = below.up.receive_s + below.down.send_s + above.up.send_s + above.down.receive_s
    return piece.forward_s + piece.dual_s + piece.backward_s + messages_s
