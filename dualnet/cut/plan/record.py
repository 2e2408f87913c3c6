"""A plan as a record for programs."""

from __future__ import annotations

from typing import Any

from dualnet.cut.plan.chains import Chain, Outcome
from dualnet.cut.plan.cut_plan import CutPlan
from dualnet.cut.plan.estimate import PieceCost

__all__ = ["to_record"]


def to_record(plan: CutPlan) -> dict[str, Any]:
    """All of a plan, JSON-able; times in seconds, sizes in bytes, of an iteration."""
    request, carrier = plan.request, plan.measured.costs.carrier
    return {
        "net": request.net,
        "name": plan.measured.name,
        "pieces": request.pieces,
        "batch": plan.measured.batch,
        "iter_size": plan.measured.iter_size,
        "target": request.target,
        "device": request.device,
        "threads": request.threads,
        "processors": request.processors,
        "limit_bytes": request.limit_bytes,
        "exchange": {
            "directory": request.exchange_dir,
            "carrier": request.carrier,
            "added_latency_s": request.latency_s,
            "network_bytes_per_s": request.bytes_per_s,
            "bytes_per_s": carrier.bytes_per_s,
            "one_way_s": dict(zip(map(str, carrier.sizes), carrier.seconds)),
            "send_s": dict(zip(map(str, carrier.sizes), carrier.send_seconds)),
        },
        "single": {
            **_piece(plan.measured.costs.single, plan.measured.iter_size, plan.single.memory_bytes),
            "iteration_s": plan.single.seconds,
            "measured_bytes": plan.measured.grown_bytes,
        },
        "cuts": [_cut(chain) for chain in plan.cuts],
        "refused": {refusal.at: refusal.reason for refusal in plan.measured.refusals},
        "schedules": {
            name: {
                "staleness": request.staleness if name == "overlapped" else 0,
                "micro_batches": plan.measured.micro_batches if name == "pipelined" else 1,
                "micro_batch_order": request.micro_batch_order if name == "pipelined" else None,
                "at": _at(choice.chain),
                "dual": [cut.dual for cut in choice.chain.cuts] if choice.chain else None,
                **(_outcome(choice.chain.outcomes[name]) if choice.chain else {}),
                "helps": choice.helps,
                "reason": choice.reason,
            }
            for name, choice in plan.choices.items()
        },
        "schedule": request.schedule,
        "recommended": _at(plan.best),
        "reason": plan.choice.reason,
    }


def _at(chain: Any) -> Any:
    return [cut.blobs for cut in chain.cuts] if chain else None


def _cut(chain: Chain) -> dict[str, Any]:
    """A cut in two."""
    (cut,) = chain.cuts
    outcome = chain.outcomes["alternating"]
    parts, (link,) = outcome.schedule.parts, outcome.links
    names = zip(("net1", "net2"), outcome.pieces, outcome.memory_bytes)
    return {
        "at": cut.at,
        "blobs": cut.blobs,
        "crossing": cut.crossing,
        "labels": [version.name for version in cut.flow.labels],
        "dual": cut.dual,
        **{name: _piece(piece, parts, memory) for name, piece, memory in names},
        "up_bytes": parts * link.up_bytes,
        "down_bytes": parts * link.down_bytes,
        **{f"{name}_s": found.seconds for name, found in chain.outcomes.items()},
    }


def _outcome(outcome: Outcome) -> dict[str, Any]:
    """A chain under a schedule."""
    parts = outcome.schedule.parts
    each = zip(outcome.pieces, outcome.memory_bytes, outcome.loads_s)
    return {
        "iteration_s": outcome.seconds,
        "bound_s": outcome.bound_s,
        "largest_bytes": outcome.largest_bytes,
        "pieces": [
            {**_piece(piece, parts, memory), "busy_s": load_s} for piece, memory, load_s in each
        ],
        "links": [
            {
                "up_bytes": parts * link.up_bytes,
                "down_bytes": parts * link.down_bytes,
                "up_s": parts * link.time.up.one_way_s,
                "down_s": parts * link.time.down.one_way_s,
            }
            for link in outcome.links
        ],
    }


def _piece(piece: PieceCost, parts: int, memory_bytes: int) -> dict[str, Any]:
    """A piece's work in an iteration of so many batches, its forward with the dual layers."""
    return {
        "parameters": piece.parameters,
        "forward_s": parts * (piece.forward_s + piece.dual_s),
        "dual_s": parts * piece.dual_s,
        "backward_s": parts * piece.backward_s,
        "update_s": piece.update_s,
        "memory_bytes": memory_bytes,
    }
