"""Schedules as data: what each piece does, in which order, and that no order can block another."""

from __future__ import annotations

import pytest

from dualnet import config as cfg
from dualnet.config.chain import piece_names
from dualnet.training.loop.micro_batch import MicroBatch
from dualnet.training.loop.schedule import Down, Lookahead, Up, actions, lookahead


def chain_of(pieces, **train):
    """The config of a chain of so many pieces."""
    raw = {
        "pieces": [{"solver": f"{n}.prototxt"} for n in range(pieces)],
        "cuts": [{}] * (pieces - 1),
        "train": train,
    }
    return cfg.from_dict(raw)


def order(pieces, name, iterations=1, parts=1, last_iteration=None, **train):
    """What a piece does, in words: `u0 d0` and so on, by the number of the batch."""
    ahead, sent, words = lookahead(chain_of(pieces, **train), name, parts), 0, []
    for iteration in range(iterations):
        last = min(iteration + ahead.iterations, iterations - 1)
        last = last if last_iteration is None else last_iteration
        for action in actions(iteration, parts, sent, ahead, last):
            is_up = isinstance(action, Up)
            sent += is_up
            words.append(f"{'u' if is_up else 'd'}{action.batch.number}")
    return " ".join(words)


PIPELINED = {"schedule": "pipelined"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # The picture in schedule.py.
        ("net1", "u0 u1 u2 d0 u3 d1 d2 d3"),
        ("net2", "u0 u1 d0 u2 d1 u3 d2 d3"),
        ("net3", "u0 d0 u1 d1 u2 d2 u3 d3"),
    ],
)
def test_one_forward_one_backward(name, expected):
    assert order(3, name, parts=4, **PIPELINED) == expected


def test_gpipe_sends_all_before_it_takes_an_answer():
    gpipe = {**PIPELINED, "micro_batch_order": "gpipe"}
    assert order(3, "net1", parts=3, **gpipe) == "u0 u1 u2 d0 d1 d2"
    assert order(3, "net2", parts=3, **gpipe) == "u0 u1 u2 d0 d1 d2"
    # The last one has nobody to wait for.
    assert order(3, "net3", parts=3, **gpipe) == "u0 d0 u1 d1 u2 d2"


def test_alternating_takes_each_answer_before_the_next_batch():
    assert order(2, "net1", iterations=2, parts=2) == "u0 d0 u1 d1 u2 d2 u3 d3"


def test_overlapped_is_staleness_batches_ahead_for_each_piece_above():
    settings = {"schedule": "overlapped", "staleness": 2}
    assert lookahead(chain_of(3, **settings), "net1", 1) == Lookahead(4, 4)
    assert lookahead(chain_of(3, **settings), "net2", 5) == Lookahead(2, 10)
    assert lookahead(chain_of(3, **settings), "net3", 1) == Lookahead()
    assert order(2, "net1", iterations=4, schedule="overlapped") == "u0 u1 d0 u2 d1 u3 d2 d3"


def test_nothing_goes_up_after_the_last_iteration_to_send():
    settings = {"schedule": "overlapped", "staleness": 3}
    ahead = lookahead(chain_of(2, **settings), "net1", 2)
    assert ahead.last_to_send(MicroBatch(0, 0, 2), last_iteration=1) == 3
    assert ahead.last_to_send(MicroBatch(0, 1, 2), last_iteration=9) == 7
    # The iteration that is under way is never cut short.
    assert ahead.last_to_send(MicroBatch(4, 0, 2), last_iteration=0) == 9


def test_the_single_net_never_looks_ahead():
    for schedule in ("alternating", "overlapped", "pipelined"):
        assert lookahead(chain_of(3, schedule=schedule), "single", 4) == Lookahead()


@pytest.mark.parametrize("pieces", [2, 3, 4, 8])
@pytest.mark.parametrize("parts", [1, 3, 4])
@pytest.mark.parametrize(
    "train",
    [{}, PIPELINED, {**PIPELINED, "micro_batch_order": "gpipe"},
     {"schedule": "overlapped"}, {"schedule": "overlapped", "staleness": 3}],
    ids=["alternating", "1f1b", "gpipe", "overlapped", "overlapped by 3"],
)  # fmt: skip
def test_every_batch_goes_up_and_down_once_and_no_piece_blocks_another(pieces, parts, train):
    """All orders run together, each piece blocking where its neighbour is not so far."""
    names, iterations = piece_names(pieces), 4
    config = chain_of(pieces, **train)
    todo = {}
    for name in names:
        ahead, sent, todo[name] = lookahead(config, name, parts), 0, []
        for iteration in range(iterations):
            last = min(iteration + ahead.iterations, iterations - 1)
            for action in actions(iteration, parts, sent, ahead, last):
                todo[name].append(action)
                sent += isinstance(action, Up)
    done = {(name, kind): [] for name in names for kind in (Up, Down)}
    moved = True
    while moved:
        moved = False
        for place, name in enumerate(names):
            if not todo[name]:
                continue
            action = todo[name][0]
            number, kind = action.batch.number, type(action)
            below = names[place - 1] if place else None
            above = names[place + 1] if place + 1 < pieces else None
            if kind is Up and below and number not in done[below, Up]:
                continue
            if kind is Down and above and number not in done[above, Down]:
                continue
            done[name, kind].append(number)
            todo[name].pop(0)
            moved = True
    assert not any(todo.values()), "a piece waits for ever"
    for numbers in done.values():
        assert numbers == list(range(parts * iterations))
