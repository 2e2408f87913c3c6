"""A plan as tables for people."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from dualnet.columns import aligned
from dualnet.cut.plan.carrier import Carrier
from dualnet.cut.plan.chains import Chain, Outcome
from dualnet.cut.plan.cut_plan import CutPlan
from dualnet.cut.plan.cuts import Cut
from dualnet.cut.plan.units import count, mib, ms
from dualnet.cut.split import Request as SplitRequest

__all__ = ["joined", "name_of", "split_command", "split_request", "to_text"]

_CUTS_HEAD = (
    "", "cut at", "dual layers", "parameters", "forward ms", "backward ms", "memory MiB",
    "up/down MiB", "altern. ms", "overl. ms", "pipel. ms", "limit",
)  # fmt: skip
_SCHEDULES_HEAD = (
    "", "schedule", "cuts", "iteration ms", "speed", "largest MiB", "bound by",
)  # fmt: skip
_PIECES_HEAD = (
    "", "piece", "begins with", "parameters", "forward ms", "backward ms", "update ms",
    "memory MiB", "up/down MiB", "busy",
)  # fmt: skip


def to_text(plan: CutPlan) -> str:
    """The tables, what they rest on, the recommendation, and the blobs where there is no cut."""
    lines = [_title(plan), ""]
    if plan.request.pieces == 2:
        lines += [*aligned(_cut_rows(plan), range(3)), ""]
    lines += [*aligned(_schedule_rows(plan), range(3)), ""]
    if plan.best is not None and plan.request.pieces > 2:
        lines += [*aligned(_piece_rows(plan, plan.best), range(3)), ""]
    lines += [*_wrapped(_assumptions(plan)), "", *_wrapped(_recommendation(plan))]
    if plan.best is not None:
        lines.append(f"  {split_command(plan, plan.best)}")
    others = [choice for choice in plan.choices.values() if choice is not plan.choice]
    for choice in others:
        lines += _wrapped(f"{choice.schedule.capitalize()}: {choice.reason}.")
    if plan.measured.refusals:
        lines += ["", "No cut at:"]
        width = max(len(refusal.at) for refusal in plan.measured.refusals)
        for refusal in plan.measured.refusals:
            lines += textwrap.wrap(
                refusal.reason, 98, initial_indent=f"  {refusal.at:{width}}  ",
                subsequent_indent=" " * (width + 4),
            )  # fmt: skip
    return "\n".join(lines) + "\n"


def split_request(plan: CutPlan, chain: Chain, output: str) -> SplitRequest:
    """What makes a chain of the plan's net."""
    asked = plan.request
    cuts = [(cut.blobs, cut.dual) for cut in chain.cuts]
    return SplitRequest(
        asked.net, cuts, output, solver=asked.solver, target=asked.target, shapes=asked.shapes
    )


def split_command(plan: CutPlan, chain: Chain, output: str = "DIR") -> str:
    """The `dualnet split` command that makes a chain."""
    return split_request(plan, chain, output).command


def name_of(cut: Cut) -> str:
    """The cut blobs, and how many others cross with them."""
    more = len(cut.crossing) - len(cut.blobs)
    return f"{joined(cut.blobs)} (+{more})" if more else joined(cut.blobs)


def joined(names: Sequence[str]) -> str:
    """Some names in one short word."""
    return "+".join(names) if len(names) < 3 else f"{names[0]}+…+{names[-1]}"


def _title(plan: CutPlan) -> str:
    request, measured = plan.request, plan.measured
    where = f"GPU {request.device}"
    if request.device == "cpu":
        where = f"CPU, {request.threads} thread{'s' if request.threads > 1 else ''} a piece"
    batches = f"batches of {measured.batch}"
    if measured.iter_size > 1:
        batches += f", {measured.iter_size} an update"
    return f"{measured.name} in {request.pieces} pieces: {batches}, {where}"


def _cut_rows(plan: CutPlan) -> list[tuple[str, ...]]:
    """Every cut in two, and the single net."""
    passes, single = plan.measured.iter_size, plan.measured.costs.single
    rows: list[tuple[str, ...]] = [_CUTS_HEAD]
    for chain in plan.cuts:
        (cut,), outcome = chain.cuts, chain.outcomes["alternating"]
        (one, two), (link,) = outcome.pieces, outcome.links
        is_best = plan.best is not None and plan.best.cuts == chain.cuts
        rows.append(
            (
                "*" if is_best else "",
                name_of(cut),
                joined(cut.dual),
                f"{count(one.parameters)} / {count(two.parameters)}",
                f"{ms(passes * (one.forward_s + one.dual_s))} / {ms(passes * two.forward_s)}",
                f"{ms(passes * one.backward_s)} / {ms(passes * two.backward_s)}",
                " / ".join(map(mib, outcome.memory_bytes)),
                f"{_traffic(passes * link.up_bytes)} / {_traffic(passes * link.down_bytes)}",
                *(ms(chain.outcomes[name].seconds) for name in plan.choices),
                f"{plan.single.memory_bytes / outcome.largest_bytes:.2f}",
            )
        )
    rows.append(
        ("", "(single)", "", count(single.parameters), ms(passes * single.forward_s),
         ms(passes * single.backward_s), mib(plan.single.memory_bytes), "", ms(plan.single.seconds),
         "", "", "")
    )  # fmt: skip
    return rows


def _schedule_rows(plan: CutPlan) -> list[tuple[str, ...]]:
    """The best chain under each schedule, and the single net."""
    rows: list[tuple[str, ...]] = [_SCHEDULES_HEAD]
    for name, choice in plan.choices.items():
        label = name
        if name == "overlapped":
            label += f", staleness {plan.request.staleness}"
        elif name == "pipelined":
            label += f", {plan.measured.micro_batches} micro-batches"
        mark = "*" if choice is plan.choice and choice.helps else ""
        if choice.chain is None:
            rows.append((mark, label, "(none)", "", "", "", ""))
            continue
        outcome = choice.chain.outcomes[name]
        rows.append(
            (
                mark,
                label,
                ", ".join(joined(cut.blobs) for cut in choice.chain.cuts),
                ms(outcome.seconds),
                f"{plan.single.seconds / outcome.seconds:.2f}",
                mib(outcome.largest_bytes),
                _bound(outcome, choice.chain.names),
            )
        )
    rows.append(
        ("", "(single)", "", ms(plan.single.seconds), "1.00", mib(plan.single.memory_bytes), "")
    )
    return rows


def _piece_rows(plan: CutPlan, chain: Chain) -> list[tuple[str, ...]]:
    """The pieces of a chain under the schedule that was asked for, times those of an iteration."""
    outcome = chain.outcomes[plan.request.schedule]
    parts = outcome.schedule.parts
    rows: list[tuple[str, ...]] = [_PIECES_HEAD]
    for place, (name, piece) in enumerate(zip(chain.names, outcome.pieces)):
        traffic = ""
        if place < len(chain.cuts):
            link = outcome.links[place]
            traffic = f"{_traffic(parts * link.up_bytes)} / {_traffic(parts * link.down_bytes)}"
        rows.append(
            (
                "",
                name,
                joined(chain.cuts[place - 1].dual) if place else "data",
                count(piece.parameters),
                ms(parts * (piece.forward_s + piece.dual_s)),
                ms(parts * piece.backward_s),
                ms(piece.update_s),
                mib(outcome.memory_bytes[place]),
                traffic,
                _busy(outcome, place),
            )
        )
    return rows


def _assumptions(plan: CutPlan) -> str:
    carrier, request = plan.measured.costs.carrier, plan.request
    columns = "Dual layers are counted in both pieces"
    if request.target == "backprop":
        columns += ", but computed in the upper one alone (target backprop)"
    if request.pieces == 2:
        columns += (
            "; limit: the single net's memory over the larger piece's; (+N): N more blobs cross"
        )
    machine = "Each piece has cores (or a GPU) of its own, like those that this was measured on."
    if request.processors:
        machine = f"All pieces are on one machine, where {request.processors} compute at a time."
    micro = ""
    if plan.measured.micro_batches == 1:
        micro = " The batch cannot be divided, so pipelined is as alternating."
    message_ms = ms(carrier.seconds[0])
    network = ""
    if request.latency_s or request.bytes_per_s:
        rate = f" and {request.bytes_per_s / 1e6:.0f} MB/s" if request.bytes_per_s else ""
        network = f", and a network of {ms(request.latency_s)} ms{rate} besides"
    return (
        f"{columns}. Speed: times the single net's on one piece's cores. {machine} Exchange by "
        f"{carrier.name} in {request.exchange_dir}: {message_ms} ms a message and "
        f"{_rate(carrier)}, measured{network}. Memory is counted: blobs, weights, solver history, "
        "and the activations that a schedule keeps; the single net took "
        f"{mib(plan.measured.grown_bytes)} MiB when it was timed.{micro}"
    )


def _rate(carrier: Carrier) -> str:
    """MB/s; in words where the messages take no longer for being large."""
    if carrier.bytes_per_s is None:
        return f"a rate that is too high to show in messages of {carrier.sizes[-1] / 1e6:.3g} MB"
    return f"{carrier.bytes_per_s / 1e6:.0f} MB/s"


def _recommendation(plan: CutPlan) -> str:
    choice, name = plan.choice, plan.request.schedule
    if plan.best is None:
        return f"No recommendation ({name}): {choice.reason}."
    cuts = ", ".join(joined(cut.blobs) for cut in plan.best.cuts)
    return f"Recommended ({name}): {cuts}: {choice.reason}."


def _bound(outcome: Outcome, names: Sequence[str]) -> str:
    """Who has most to do, and how much of the iteration that is."""
    what = names[outcome.busiest]
    if outcome.shared_s > outcome.loads_s[outcome.busiest]:
        what = f"{outcome.processors} at a time"
    share = min(1.0, outcome.bound_s / outcome.seconds)
    return f"{what}: {ms(outcome.bound_s)} ms, {share:.0%}"


def _busy(outcome: Outcome, place: int) -> str:
    """The share of an iteration in which a piece works."""
    return f"{min(1.0, outcome.loads_s[place] / outcome.seconds):.0%}"


def _traffic(size: int) -> str:
    return f"{size / 2**20:.2f}"


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, 100, break_long_words=False, break_on_hyphens=False)
