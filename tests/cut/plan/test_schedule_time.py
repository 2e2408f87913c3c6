"""Schedules played event by event, against closed forms and sums by hand."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from dualnet.config import load
from dualnet.cut.plan.schedule_time import (
    LinkTime,
    MessageTime,
    PieceTime,
    Polling,
    Span,
    actions,
    alternating,
    overlapped,
    pipelined,
    play,
    simulate,
)
from dualnet.training.loop.schedule import Up, lookahead
from dualnet.training.loop.schedule import actions as trained_actions

ROOT = Path(__file__).resolve().parents[3]
F, B, U = 2.0, 3.0, 0.5


def equal(count, update=0.0):
    return [PieceTime(F, 0.0, B, update)] * count


def drawn(count, seed, update=1.0):
    """Pieces and links of random times, without dual layers."""
    rng = random.Random(seed)
    pieces = [
        PieceTime(rng.random(), 0.0, rng.random(), update * rng.random()) for _ in range(count)
    ]
    message = lambda: MessageTime(*(0.2 * rng.random() for _ in range(4)))  # noqa: E731
    return pieces, [LinkTime(message(), message()) for _ in range(count - 1)]


def free(count):
    return [LinkTime()] * (count - 1)


def seconds(pieces, links, schedule, **more):
    return play(pieces, links, schedule, **more).seconds


@pytest.mark.parametrize("count", [1, 2, 3, 8])
@pytest.mark.parametrize("parts", [1, 4])
def test_equal_pieces_and_free_links_take_what_the_closed_forms_say(count, parts):
    pieces, links = equal(count, U), free(count)
    assert seconds(pieces, links, alternating(count, parts)) == pytest.approx(
        count * parts * (F + B) + U
    )
    assert seconds(pieces, links, overlapped(count, 1, parts)) == pytest.approx(parts * (F + B) + U)
    for order in ("gpipe", "1f1b"):
        found = seconds(equal(count), links, pipelined(count, parts, order))
        assert found == pytest.approx((parts + count - 1) * (F + B))


@pytest.mark.parametrize("seed", range(5))
def test_alternating_is_the_sum_of_all(seed):
    pieces, links = drawn(4, seed, update=0.1)
    way = sum(piece.forward_s + piece.backward_s for piece in pieces)
    way += sum(link.up.one_way_s + link.down.one_way_s for link in links)
    assert seconds(pieces, links, alternating(4)) == pytest.approx(way + pieces[0].update_s)


def test_alternating_waits_for_the_update_of_an_upper_piece():
    """Its next batch may be there before its weights are updated."""
    pieces = [PieceTime(1.0, 0.0, 1.0, 0.0), PieceTime(1.0, 0.0, 1.0, 7.0)]
    assert seconds(pieces, free(2), alternating(2)) == pytest.approx(9.0)


def test_dual_layers_are_computed_while_the_piece_above_works():
    hidden = [PieceTime(1.0, 2.0, 1.0, 0.0), PieceTime(2.0, 0.0, 3.0, 0.0)]
    shown = [PieceTime(1.0, 9.0, 1.0, 0.0), PieceTime(2.0, 0.0, 3.0, 0.0)]
    assert seconds(hidden, free(2), alternating(2)) == pytest.approx(7.0)
    assert seconds(shown, free(2), alternating(2)) == pytest.approx(11.0)


def test_late_answers_are_compared_with_layers_of_then():
    """The forward of the dual layers is part of the round trip, and not hidden in it."""
    pieces = [PieceTime(1.0, 4.0, 1.0, 0.0), PieceTime(2.0, 0.0, 3.0, 0.0)]
    far = [LinkTime(MessageTime(latency_s=20.0), MessageTime(latency_s=20.0))]
    assert seconds(pieces, far, overlapped(2)) == pytest.approx((1 + 20 + 5 + 20 + 4 + 1) / 2)
    kinds = [span.kind for span in play(pieces, far, overlapped(2)).spans if span.piece == 0]
    assert kinds[-3:] == ["dual", "backward", "update"]


@pytest.mark.parametrize("seed", range(5))
def test_overlapped_is_as_slow_as_its_slowest_piece(seed):
    pieces, _ = drawn(4, seed)
    slowest = max(p.forward_s + p.backward_s + p.update_s for p in pieces)
    # So far ahead that no round trip counts.
    assert seconds(pieces, free(4), overlapped(4, 12)) == pytest.approx(slowest)


def test_overlapped_is_bounded_by_the_round_trip_over_the_batches_under_way():
    latency = LinkTime(MessageTime(latency_s=50.0), MessageTime(latency_s=50.0))
    trip = 2 * (F + B) + 100.0
    for staleness in (1, 2, 3):
        found = seconds(equal(2), [latency], overlapped(2, staleness))
        assert found == pytest.approx(trip / (staleness + 1))
    # Three pieces: two batches ahead of the first piece's answer, and two links to pass.
    found = seconds(equal(3), [latency] * 2, overlapped(3, 1))
    assert found == pytest.approx(max((3 * (F + B) + 200.0) / 3, trip / 2))


def test_a_link_that_is_busy_bounds_it():
    busy = LinkTime(MessageTime(transit_s=20.0), MessageTime())
    assert seconds(equal(3), [busy, LinkTime()], overlapped(3, 9)) == pytest.approx(20.0)
    up = pipelined(2, 5, "gpipe")
    assert seconds(equal(2), [busy], up) == pytest.approx(F + 5 * 20.0 + F + B + B)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("parts", [1, 3, 8])
def test_gpipe_is_one_batch_through_all_and_the_others_through_the_slowest(seed, parts):
    pieces, _ = drawn(4, seed, update=0.0)
    found = seconds(pieces, free(4), pipelined(4, parts, "gpipe"))
    # The longest way either passes the last piece, with the other parts where they take longest ...
    way = sum(piece.forward_s + piece.backward_s for piece in pieces)
    slowest = max(
        pieces[-1].forward_s + pieces[-1].backward_s,
        *(max(piece.forward_s, piece.backward_s) for piece in pieces[:-1]),
    )
    ways = [way + (parts - 1) * slowest]
    # ... or turns in a piece before it, which takes all parts up before the first comes down.
    for count in (1, 2, 3):
        below = pieces[:count]
        slowest = max(p.forward_s for p in below) + max(p.backward_s for p in below)
        ways.append(sum(p.forward_s + p.backward_s for p in below) + (parts - 1) * slowest)
    assert found == pytest.approx(max(ways))


@pytest.mark.parametrize("processors", [1, 2])
def test_pieces_that_share_processors_take_turns(processors):
    pieces, links = equal(4, U), free(4)
    for schedule in (overlapped(4), pipelined(4, 4), alternating(4)):
        work = schedule.parts * 4 * (F + B) + 4 * U
        found = play(pieces, links, schedule, processors)
        assert found.seconds >= work / processors - 1e-9
        assert most_at_a_time(found.spans) <= processors
    assert seconds(pieces, links, overlapped(4), processors=1) == pytest.approx(4 * (F + B + U))
    assert seconds(pieces, links, overlapped(4), processors=2) == pytest.approx(
        2 * (F + B + U), rel=0.1
    )


def most_at_a_time(spans):
    edges = sorted(
        [(span.end_s, -1) for span in spans] + [(span.start_s, 1) for span in spans],
        key=lambda edge: (round(edge[0], 9), edge[1]),
    )
    now = most = 0
    for _, step in edges:
        now += step
        most = max(most, now)
    return most


def test_a_receiver_that_polls_comes_late():
    polling = Polling(0.1, 2.0)
    pieces = [PieceTime(10.0, 0.0, 10.0, 0.0), PieceTime(5.0, 0.0, 5.0, 0.0)]
    # net2 waits for 20 and more, and is late by 2 at most; net1 for 2 + 5 + 5, late by 1.2.
    assert seconds(pieces, free(2), alternating(2), polling=polling) == pytest.approx(33.2)


def test_orders():
    assert list(actions(0, 1, 2, False)) == [
        ("up", 0), ("down", 0), ("update", 0), ("up", 1), ("down", 1), ("update", 1)
    ]  # fmt: skip
    assert list(actions(2, 1, 3, False))[:4] == [("up", 0), ("up", 1), ("up", 2), ("down", 0)]
    assert list(actions(1, 2, 2, True)) == [
        ("up", 0), ("up", 1), ("down", 0), ("down", 1), ("update", 0),
        ("up", 2), ("up", 3), ("down", 2), ("down", 3), ("update", 1),
    ]  # fmt: skip
    assert overlapped(3, 2).kept == (5, 3, 1) and alternating(3).kept == (1, 1, 1)
    assert pipelined(4, 8).kept == (4, 3, 2, 1) and pipelined(4, 8, "gpipe").kept == (8, 8, 8, 1)
    assert pipelined(4, 2).kept == (2, 2, 2, 1)


def test_spans_tell_what_was_done_when():
    pieces = [PieceTime(1.0, 0.5, 2.0, 0.25), PieceTime(3.0, 0.0, 4.0, 0.0)]
    link = LinkTime(MessageTime(0.1, 0.0, 0.0, 0.2), MessageTime(0.0, 0.0, 1.0, 0.0))
    orders = [list(order) for order in (actions(0, 1, 1, False), actions(0, 1, 1, False))]
    spans = simulate(pieces, [link], orders)
    rounded = [Span(*span[:3], round(span.start_s, 9), round(span.end_s, 9)) for span in spans]
    assert sorted(rounded, key=lambda span: (span.piece, span.start_s)) == [
        Span(0, "forward", 0, 0.0, 1.0), Span(0, "send", 0, 1.0, 1.1),
        Span(0, "dual", 0, 1.1, 1.6), Span(0, "backward", 0, 9.3, 11.3),
        Span(0, "update", 0, 11.3, 11.55),
        Span(1, "receive", 0, 1.1, 1.3), Span(1, "forward", 0, 1.3, 4.3),
        Span(1, "backward", 0, 4.3, 8.3), Span(1, "update", 0, 8.3, 8.3),
    ]  # fmt: skip


def test_a_piece_that_waits_for_ever_is_named():
    with pytest.raises(ValueError, match="net2 waits for up 1, which nobody sends"):
        simulate(equal(2), free(2), [iter([("up", 0)]), iter([("up", 1)])])


def test_sixty_four_pieces_are_played_soon():
    started_s = time.process_time()
    pieces, links = drawn(64, 1, update=0.1)
    for schedule in (alternating(64), overlapped(64), pipelined(64, 64)):
        play(pieces, links, schedule)
    assert time.process_time() - started_s < 30


@pytest.mark.parametrize(
    "settings",
    [
        ["train.schedule=alternating"],
        ["train.schedule=overlapped", "train.staleness=1"],
        ["train.schedule=overlapped", "train.staleness=3"],
        ["train.schedule=pipelined", "train.micro_batches=4"],
        ["train.schedule=pipelined", "train.micro_batches=2"],
        ["train.schedule=pipelined", "train.micro_batches=4", "train.micro_batch_order=gpipe"],
    ],
)
@pytest.mark.parametrize("passes", [1, 2])
def test_pieces_are_played_as_they_train(settings, passes):
    """The loop's own actions are those that a plan plays."""
    config = load(str(ROOT / "configs" / "cifar10_three.yaml"), settings)
    train, pieces = config.train, len(config.pieces)
    parts = passes * train.micro_batches
    schedule = {
        "alternating": lambda: alternating(pieces, parts),
        "overlapped": lambda: overlapped(pieces, train.staleness, parts),
        "pipelined": lambda: pipelined(pieces, parts, train.micro_batch_order),
    }[train.schedule]()
    updates = 6
    for name, ahead in zip(config.names, schedule.aheads):
        sent, trained = 0, []
        for iteration in range(updates):
            last = iteration if schedule.barrier else updates - 1
            steps = trained_actions(iteration, parts, sent, lookahead(config, name, parts), last)
            for step in steps:
                sent += isinstance(step, Up)
                trained.append(("up" if isinstance(step, Up) else "down", step.batch.number))
            trained.append(("update", iteration))
        assert list(actions(ahead, parts, updates, schedule.barrier)) == trained
