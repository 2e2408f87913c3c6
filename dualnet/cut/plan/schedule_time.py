"""The time of an iteration of a chain: its schedule played event by event, on given times.

Every piece works through a fixed list of actions, one after the other; each waits for its message.

    up i       receive batch i from below, forward, send it up, forward of the dual layers
    down i     receive the answer to i from above, backward, send the answer down
               (overlapped: forward of the dual layers here, before backward)
    update n   of the weights

The lists differ only in how many batches go up before the answer to the first is taken (`ahead`),
and in whether the next update's batches may be among them (`barrier`). With K pieces, and an update
of `parts` batches (micro-batches where pipelined), piece k = 1 … K is ahead by

    alternating    0
    overlapped     S (K - k) parts        S: the staleness
    pipelined      min(K - k, parts - 1) in the order 1F1B; in GPipe's parts - 1, but 0 for k = K;
                   with a barrier

where nothing but the pieces takes time, and K equal pieces need f forward and b backward a part,
that gives K (f + b) parts, (f + b) parts, and (f + b) (parts + K - 1) in both orders.

GPipe: Huang et al. 2019, figure 2; 1F1B: Narayanan et al. 2019 (PipeDream), figure 4, with the
flush of Narayanan et al. 2021, figure 3.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import heappop, heappush
from typing import NamedTuple, Optional

__all__ = [
    "PROMPT", "Action", "Iteration", "LinkTime", "MessageTime", "PieceTime", "Polling",
    "Schedule", "Span", "actions", "alternating", "overlapped", "pipelined", "play", "simulate",
]  # fmt: skip

#: ("up", batch), ("down", batch) or ("update", iteration), all counted from 0.
Action = tuple[str, int]


class PieceTime(NamedTuple):
    """What a piece computes, in seconds.

    Attributes:
        forward_s: Of a part, up to what is sent up.
        dual_s: Forward of the layers that the piece above has too: after that, or where answers
            come updates late, when the answer is there.
        backward_s: Of a part, with the losses and the target for the piece below.
        update_s: Of an update.
    """

    forward_s: float
    dual_s: float
    backward_s: float
    update_s: float


class MessageTime(NamedTuple):
    """A message's way, in seconds.

    Attributes:
        send_s: The sender is busy.
        transit_s: The link is busy: bytes over its rate.
        latency_s: Neither is.
        receive_s: The receiver is busy.
    """

    send_s: float = 0.0
    transit_s: float = 0.0
    latency_s: float = 0.0
    receive_s: float = 0.0

    @property
    def one_way_s(self) -> float:
        """All of it."""
        return sum(self)


class LinkTime(NamedTuple):
    """The messages between two neighbours, one each way for each part."""

    up: MessageTime = MessageTime()
    down: MessageTime = MessageTime()


class Polling(NamedTuple):
    """How late a polling receiver finds its message: a share of its wait, with an upper limit.

    Attributes:
        share: Of the wait.
        longest_s: The limit.
    """

    share: float = 0.0
    longest_s: float = 0.0

    def late_s(self, wait_s: float) -> float:
        """The mean delay after a wait."""
        return min(self.share * wait_s, self.longest_s)


#: A receiver that waits gets its message at once.
PROMPT = Polling()


class Schedule(NamedTuple):
    """In which order pieces work.

    Attributes:
        name: `alternating`, `overlapped` or `pipelined`.
        aheads: Of each piece, from the data's: how many parts go up before the first comes down.
        parts: Batches, or micro-batches, of an update.
        barrier: Whether an update waits for all that went up.
        late: Whether answers come updates late, and the layers that the piece above has too are
            put off until then, to have weights of the same age.
    """

    name: str
    aheads: tuple[int, ...]
    parts: int = 1
    barrier: bool = False
    late: bool = False

    @property
    def kept(self) -> tuple[int, ...]:
        """Of how many parts each piece has activations at most."""
        return tuple(ahead + 1 for ahead in self.aheads)


class Span(NamedTuple):
    """A stretch of a piece's time; `kind`: receive, forward, send, dual, backward or update."""

    piece: int
    kind: str
    number: int
    start_s: float
    end_s: float


class Iteration(NamedTuple):
    """One iteration of many.

    Attributes:
        seconds: From update to update, once the chain is full.
        start_s: Where in `spans` one begins, at the first piece.
        spans: All that was played.
    """

    seconds: float
    start_s: float
    spans: list[Span]


def alternating(pieces: int, parts: int = 1) -> Schedule:
    """One batch at a time through all pieces."""
    return Schedule("alternating", (0,) * pieces, parts)


def overlapped(pieces: int, staleness: int = 1, parts: int = 1) -> Schedule:
    """Each piece `staleness` updates further ahead than the one above it."""
    aheads = tuple(staleness * (pieces - place) * parts for place in range(1, pieces + 1))
    return Schedule("overlapped", aheads, parts, late=True)


def pipelined(pieces: int, micro_batches: int, order: str = "1f1b") -> Schedule:
    """A batch in parts, and one update after all of them; `order` is `1f1b` or `gpipe`."""
    most = micro_batches - 1
    aheads = tuple(
        min(above if order == "1f1b" else most, most) for above in range(pieces - 1, 0, -1)
    )
    return Schedule("pipelined", (*aheads, 0), micro_batches, True)


def actions(ahead: int, parts: int, updates: int, barrier: bool) -> Iterator[Action]:
    """The actions of one piece in `updates` iterations."""
    sent = 0
    for batch in range(updates * parts):
        iteration = batch // parts
        last = ((iteration + 1) if barrier else updates) * parts - 1
        while sent <= min(batch + ahead, last):
            yield "up", sent
            sent += 1
        yield "down", batch
        if (batch + 1) % parts == 0:
            yield "update", iteration


def play(
    pieces: Sequence[PieceTime],
    links: Sequence[LinkTime],
    schedule: Schedule,
    processors: Optional[int] = None,
    polling: Polling = PROMPT,
) -> Iteration:
    """Play a schedule until its iterations take equally long, and then for some of them.

    Args:
        pieces, links, processors, polling: As of `simulate`.
        schedule: For as many pieces.
    """
    # The chain is full when the first piece's batches have come back from the last one, and
    # draining from where no further ones go up: both take so many iterations.
    filling, counted = 2, 4
    if schedule.aheads[0] and not schedule.barrier:
        filling += -(-schedule.aheads[0] // schedule.parts)
        # A round trip of n iterations may make each n-th one longer: whole periods of n up to 4.
        counted = max(12, 2 * filling)
    orders = [
        actions(ahead, schedule.parts, counted + 2 * filling, schedule.barrier)
        for ahead in schedule.aheads
    ]
    spans = simulate(pieces, links, orders, processors, polling, schedule.late)
    ends = [span.end_s for span in spans if span.kind == "update" and span.piece == 0]
    first, last = filling - 1, filling - 1 + counted
    return Iteration((ends[last] - ends[first]) / counted, ends[first], spans)


def simulate(
    pieces: Sequence[PieceTime],
    links: Sequence[LinkTime],
    orders: Sequence[Iterator[Action]],
    processors: Optional[int] = None,
    polling: Polling = PROMPT,
    late: bool = False,
) -> list[Span]:
    """Play lists of actions.

    Args:
        pieces: K of them, from the data's.
        links: The K - 1 between them.
        orders: The actions of each piece.
        processors: How many pieces compute at a time; None: all. They take turns in the order in
            which they are ready, an action at a time.
        polling: Of receivers that wait.
        late: As of `Schedule`.

    Returns:
        What each piece did, in the order in which its actions began; of what takes no time, only
        updates.

    Raises:
        ValueError: A piece waits for what its neighbour never sends.
    """
    top = len(pieces) - 1
    orders = [iter(order) for order in orders]
    current: list[Optional[Action]] = [next(order, None) for order in orders]
    free_s = [0.0] * len(pieces)
    arrivals: list[dict[Action, float]] = [{} for _ in pieces]
    link_free_s = {"up": [0.0] * top, "down": [0.0] * top}
    ready: list[tuple[float, int]] = []
    offered: list[Action] = [("", 0)] * len(pieces)
    waiting = [False] * len(pieces)
    slots = [0.0] * (processors or 0)
    spans: list[Span] = []

    def offer(place: int) -> None:
        """Put a piece's next action among those that are ready, or let it wait for a message."""
        action = current[place]
        waiting[place] = False
        if action is None:
            return
        from_below = action[0] == "up" and place > 0
        start_s = free_s[place]
        if from_below or (action[0] == "down" and place < top):
            arrival_s = arrivals[place].pop(action, None)
            if arrival_s is None:
                waiting[place] = True
                return
            if arrival_s > start_s:
                start_s = arrival_s + polling.late_s(arrival_s - start_s)
        offered[place] = action
        heappush(ready, (start_s, place))

    def send(action: Action, link: int, sent_s: float) -> None:
        """Bring a message to the other end of a link."""
        message = getattr(links[link], action[0])
        busy = link_free_s[action[0]]
        busy[link] = max(sent_s, busy[link]) + message.transit_s
        to = link + 1 if action[0] == "up" else link
        arrivals[to][action] = busy[link] + message.latency_s
        if waiting[to]:
            offer(to)

    for place in range(len(pieces)):
        offer(place)
    while ready:
        now_s, place = heappop(ready)
        if processors:
            now_s = max(now_s, heappop(slots))
        action = offered[place]
        for kind, seconds in _steps(action[0], place, pieces, links, late):
            if seconds or kind == "update":
                spans.append(Span(place, kind, action[1], now_s, now_s + seconds))
                now_s += seconds
            if kind == "send":
                send(action, place if action[0] == "up" else place - 1, now_s)
        if processors:
            heappush(slots, now_s)
        free_s[place] = now_s
        current[place] = next(orders[place], None)
        offer(place)
    for place, left in enumerate(current):
        if left is not None:
            raise ValueError(f"net{place + 1} waits for {left[0]} {left[1]}, which nobody sends")
    return spans


def _steps(
    kind: str,
    place: int,
    pieces: Sequence[PieceTime],
    links: Sequence[LinkTime],
    late: bool,
) -> Iterator[tuple[str, float]]:
    """What an action consists of: (kind of the span, seconds)."""
    piece, top = pieces[place], len(pieces) - 1
    if kind == "up":
        if place > 0:
            yield "receive", links[place - 1].up.receive_s
        yield "forward", piece.forward_s
        if place < top:
            yield "send", links[place].up.send_s
            if not late:
                yield "dual", piece.dual_s
    elif kind == "down":
        if place < top:
            yield "receive", links[place].down.receive_s
            if late:
                yield "dual", piece.dual_s
        yield "backward", piece.backward_s
        if place > 0:
            yield "send", links[place - 1].down.send_s
    else:
        yield "update", piece.update_s
