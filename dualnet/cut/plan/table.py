"""A plan as a table for people and as a record for programs."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Sequence
from typing import Any

from dualnet.cut.plan.carrier import Carrier
from dualnet.cut.plan.choice import Plan
from dualnet.cut.plan.estimate import Estimate, HalfCost

__all__ = ["name_of", "to_record", "to_text"]

_HEAD = (
    "", "cut at", "dual layers", "parameters", "forward ms", "backward ms", "memory MiB",
    "up/down MiB", "altern. ms", "overl. ms", "limit",
)  # fmt: skip


def to_text(plan: Plan) -> str:
    """The table, and below it what it rests on, the recommendation, and the cuts that are none."""
    rows = [_HEAD, *(_row(cut, cut is plan.best) for cut in plan.cuts)]
    single = plan.single
    rows.append(
        ("", "(none)", "", _count(single.parameters), _ms(single.forward_s), _ms(single.backward_s),
         _mib(single.memory_bytes), "", _ms(single.seconds), "", "")
    )  # fmt: skip
    lines = [_title(plan), "", *_aligned(rows), "", *_wrapped(_assumptions(plan)), ""]
    lines += _wrapped(_recommendation(plan))
    if plan.best is not None:
        cut = plan.best.cut
        words = ["dualnet", "split", plan.request.net, "--at", *cut.blobs, "--dual", *cut.dual]
        if plan.request.solver:
            words += ["--solver", plan.request.solver]
        for blob, shape in plan.request.shapes.items():
            words += ["--shape", f"{blob}={','.join(map(str, shape))}"]
        lines.append(f"  {' '.join(map(shlex.quote, words))} -o DIR")
    if plan.refusals:
        lines += ["", "No cut at:"]
        width = max(len(refusal.at) for refusal in plan.refusals)
        for refusal in plan.refusals:
            lines += textwrap.wrap(
                refusal.reason, 98, initial_indent=f"  {refusal.at:{width}}  ",
                subsequent_indent=" " * (width + 4),
            )  # fmt: skip
    return "\n".join(lines) + "\n"


def _title(plan: Plan) -> str:
    request = plan.request
    where = f"GPU {request.device}"
    if request.device == "cpu":
        where = f"CPU, {request.threads} thread{'s' if request.threads > 1 else ''} a half"
    update = f", {plan.iter_size} an update" if plan.iter_size > 1 else ""
    return f"{plan.name}: batches of {plan.batch}{update}, {where}"


def _assumptions(plan: Plan) -> str:
    carrier = plan.carrier
    cores = (
        "Both halves share the cores that this was measured on, so all work adds up."
        if plan.request.shared
        else "Each half has cores (or a GPU) of its own, like those that this was measured on."
    )
    return (
        "Columns with a slash give net1 / net2, the dual layers counted in both; (+N): so many "
        "blobs more cross. "
        f"{cores} Exchange by files in {plan.request.exchange_dir}: "
        f"{carrier.seconds[0] * 1e3:.1f} ms a message and {_rate(carrier)}, "
        "measured. Memory is counted: blobs, weights, solver history; the single net took "
        f"{plan.single_measured_bytes / 2**20:.0f} MiB when it was timed. Limit: the single net's "
        "memory over the larger half's."
    )


def _rate(carrier: Carrier) -> str:
    """MB/s; in words where the messages take no longer for being large."""
    if carrier.bytes_per_s is None:
        return f"a rate that is too high to show in messages of {carrier.sizes[-1] / 1e6:.3g} MB"
    return f"{carrier.bytes_per_s / 1e6:.0f} MB/s"


def _recommendation(plan: Plan) -> str:
    if plan.best is None:
        return f"No recommendation: {plan.reason}."
    return f"Recommended: {_joined(plan.best.cut.blobs)}. {plan.reason}."


def name_of(cut: Estimate) -> str:
    """The cut blob, and how many others cross with it."""
    name = _joined(cut.cut.blobs)
    more = len(cut.cut.crossing) - len(cut.cut.blobs)
    return f"{name} (+{more})" if more else name


def _joined(names: Sequence[str]) -> str:
    return "+".join(names) if len(names) < 3 else f"{names[0]}+…+{names[-1]}"


def _row(cut: Estimate, is_best: bool) -> tuple[str, ...]:
    one, two = cut.net1, cut.net2
    return (
        "*" if is_best else "",
        name_of(cut),
        _joined(cut.cut.dual),
        f"{_count(one.parameters)} / {_count(two.parameters)}",
        f"{_ms(one.forward_s)} / {_ms(two.forward_s)}",
        f"{_ms(one.backward_s)} / {_ms(two.backward_s)}",
        f"{_mib(one.memory_bytes)} / {_mib(two.memory_bytes)}",
        f"{cut.up_bytes / 2**20:.2f} / {cut.down_bytes / 2**20:.2f}",
        _ms(cut.alternating_s),
        _ms(cut.overlapped_s),
        f"{cut.memory_limit:.2f}",
    )


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Columns of equal width: names to the left, numbers to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(_HEAD))]
    return [
        "  ".join(
            cell.ljust(width) if i < 3 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in rows
    ]


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, 100, break_long_words=False, break_on_hyphens=False)


def _ms(seconds: float) -> str:
    value = seconds * 1e3
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def _count(number: int) -> str:
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return str(number)


def _mib(size: int) -> str:
    value = size / 2**20
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def to_record(plan: Plan) -> dict[str, Any]:
    """All of a plan, JSON-able; times in seconds, sizes in bytes."""
    request, carrier = plan.request, plan.carrier
    return {
        "net": request.net,
        "name": plan.name,
        "batch": plan.batch,
        "iter_size": plan.iter_size,
        "device": request.device,
        "threads": request.threads,
        "cores": "shared" if request.shared else "own",
        "exchange": {
            "directory": request.exchange_dir,
            "bytes_per_s": carrier.bytes_per_s,
            "one_way_s": dict(zip(map(str, carrier.sizes), carrier.seconds)),
        },
        "single": {**_half(plan.single), "measured_bytes": plan.single_measured_bytes},
        "cuts": [
            {
                "at": cut.cut.at,
                "blobs": cut.cut.blobs,
                "crossing": cut.cut.crossing,
                "labels": [version.name for version in cut.cut.flow.labels],
                "dual": cut.cut.dual,
                "net1": _half(cut.net1),
                "net2": _half(cut.net2),
                "up_bytes": cut.up_bytes,
                "down_bytes": cut.down_bytes,
                "alternating_s": cut.alternating_s,
                "overlapped_s": cut.overlapped_s,
                "memory_limit": cut.memory_limit,
            }
            for cut in plan.cuts
        ],
        "refused": {refusal.at: refusal.reason for refusal in plan.refusals},
        "schedule": request.schedule,
        "recommended": plan.best.cut.at if plan.best else None,
        "reason": plan.reason,
    }


def _half(cost: HalfCost) -> dict[str, Any]:
    return {
        "parameters": cost.parameters,
        "forward_s": cost.forward_s,
        "backward_s": cost.backward_s,
        "update_s": cost.update_s,
        "memory_bytes": cost.memory_bytes,
    }
