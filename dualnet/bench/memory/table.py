"""The records of `dualnet bench memory` as tables for people, in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["memory_table"]

Record = dict[str, Any]

_PARTS = ("data_mib", "diff_mib", "params_mib", "history_mib", "workspace_mib")


def memory_table(records: Sequence[Record]) -> str:
    """Largest batches, ratios, and the layers of each net."""
    head = records[0]
    limit = f"{head['limit_mib']:g} MiB" if head.get("limit_mib") else "all that the GPU has"
    lines = [f"# Largest batch in {limit} a process, device {head['device']}", ""]
    lines += _batches([record for record in records if "peak_mib" in record])
    lines += _ratios([record for record in records if "chain_over_single" in record])
    layers = [record for record in records if "layer" in record]
    groups: dict[tuple[str, ...], list[Record]] = {}
    for record in layers:
        key = (record["net"], record["piece"], record.get("cut", ""))
        groups.setdefault(key, []).append(record)
    for (net, piece, cut), rows in groups.items():
        where = f", cut at {cut}" if cut else ""
        lines += _layers(f"{net}: {piece}{where}, batch {rows[0]['batch']}", rows)
    return "\n".join(lines) + "\n"


def _batches(records: Sequence[Record]) -> list[str]:
    lines = ["| net | cuts | piece | batch | peak MiB | of it before the net | KiB a sample "
             "| samples/s |",
             "|---|---|---|---:|---:|---:|---:|---:|"]  # fmt: skip
    for record in records:
        piece, batch = record["piece"], str(record["batch"])
        if "iter_size" in record:
            piece += f", iter_size {record['iter_size']}"
            batch = f"{record['effective_batch']} ({record['iter_size']} x {record['batch']})"
        lines.append(
            f"| {record['net']} | {record.get('cut', '')} | {piece} | {batch} "
            f"| {record['peak_mib']:.0f} | {record['base_mib']:.0f} "
            f"| {record.get('kib_per_sample', '')} | {record.get('samples_per_s', '')} |"
        )
    return [*lines, ""]


def _ratios(records: Sequence[Record]) -> list[str]:
    if not records:
        return []
    lines = ["| net | cuts | single | chain | chain / single | limit | share of the limit |",
             "|---|---|---:|---:|---:|---:|---:|"]  # fmt: skip
    for record in records:
        lines.append(
            f"| {record['net']} | {record['cut']} | {record['single_batch']} "
            f"| {record['chain_batch']} | **{record['chain_over_single']:.2f}** "
            f"| {record.get('limit', '')} | {record.get('share_of_limit', '')} |"
        )
    return [*lines, ""]


def _layers(title: str, rows: Sequence[Record]) -> list[str]:
    lines = [f"## {title}", "",
             "| layer | type | data | diff | parameters | history | workspace |",
             "|---|---|---:|---:|---:|---:|---:|"]  # fmt: skip
    lines += [
        f"| {row['layer']} | {row['type']} | {' | '.join(map(_mib, (row[p] for p in _PARTS)))} |"
        for row in rows
    ]
    sums = [sum(row[part] or 0.0 for row in rows) for part in _PARTS[:-1]]
    largest = max((row["workspace_mib"] or 0.0 for row in rows), default=0.0)
    lines.append(f"| **all** | | {' | '.join(map(_mib, sums))} | at most {_mib(largest)} |")
    return [*lines, ""]


def _mib(value: Any) -> str:
    return "" if value is None else f"{value:.1f}"
