"""From the raw rows of all parts to results/reliability/README.md."""

from __future__ import annotations

import errno
import os
import platform
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts.fault_campaign import damage_report, kills_report, liveness_report
from scripts.fault_campaign.calls import ERRORS
from scripts.fault_campaign.fault_catalogue import CATALOGUE, Fault
from scripts.fault_campaign.kills_report import table
from scripts.fault_campaign.lab import ROOT
from scripts.fault_campaign.ledger import read_rows
from tests.exchange.cases import CASES

__all__ = ["write"]

Row = dict[str, Any]
_PARTS = ("kills", "points", "calls", "strace", "errors", "stops", "zombies", "hangs", "full",
          "cases", "copies", "nfs", "cost", "liveness", "damage")  # fmt: skip


def write(output: Path, seed: int) -> Path:
    """Write the summary of what is in `output`; returns its path.

    It ends with what a person has to say of these rows, in `remarks.md` beside them.
    """
    rows = {part: read_rows(output / f"{part}.jsonl") for part in _PARTS}
    lines = [
        "# What the pieces survive",
        "",
        "Written by `scripts/fault_campaign.sh`; the raw rows are beside this file, one JSON line "
        "for each training or case. Each training is of the digits net, cut into two pieces or "
        "more with a process each, and ends with the comparison of weights, solver history "
        "(`dualnet digest`) and every logged loss with those of a training that nobody disturbed; "
        "nothing may be left behind.",
        "",
        *_totals(rows),
        "",
        *liveness_report.section(rows["liveness"]),
        *kills_report.section(rows["kills"]),
        *_calls(rows),
        *_moments(rows),
        *_exchange(rows),
        *damage_report.section(rows["damage"]),
        *_cost(rows["cost"]),
        *_forty(rows),
        *_environment(seed),
    ]
    remarks = output / "remarks.md"
    if remarks.exists():
        lines += ["", remarks.read_text(encoding="utf-8").rstrip()]
    path = output / "README.md"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _totals(rows: dict[str, list[Row]]) -> list[str]:
    hit = sum(
        row.get("hits", 1) > 0 for part in ("points", "calls", "strace") for row in rows[part]
    )
    kills = sum(row["kills"] for row in rows["kills"])
    trainings = sum(len(rows[part]) for part in _PARTS[:9])
    wrong = [f"{part}: {row['wrong']}" for part in _PARTS for row in rows[part] if row["wrong"]]
    bound = 3 / (kills + hit) if kills + hit else 1.0
    lines = [
        f"**{kills} random kills and {hit} at chosen calls and points, in {trainings} trainings: "
        f"{len(wrong) or 'none'} went wrong.**",
    ]
    if not wrong:
        lines[0] += f" (0 failures: with 95 % confidence less than {bound:.2%} of kills do harm.)"
    for text in wrong:
        lines += ["", f"- {' '.join(text.split())[:300]}"]
    return lines


def _group(row: Row, keys: Sequence[str]) -> tuple[int, str]:
    """Length of the chain, and what the row has under the keys."""
    return row.get("pieces", 2), " ".join(str(row[key]) for key in keys)


def _lengths(rows: list[Row]) -> str:
    return ", ".join(map(str, sorted({row.get("pieces", 2) for row in rows})))


def _calls(rows: dict[str, list[Row]]) -> list[str]:
    body = []
    for part, keys in (("calls", ("provider", "life")), ("errors", ("provider", "kind"))):
        for group in sorted({_group(row, keys) for row in rows[part]}):
            chosen = [row for row in rows[part] if _group(row, keys) == group]
            met = [row for row in chosen if row["hits"]]
            body.append([
                part, *group, len(chosen), len(met),
                len({row["at"] for row in met}), _codes(met), sum(bool(r["wrong"]) for r in chosen),
            ])  # fmt: skip
    chosen = rows["strace"]
    names = ", ".join(sorted({row["syscall"] for row in chosen}))
    met = sum(row["hits"] for row in chosen)
    body.append(["strace", _lengths(chosen), names, len(chosen), met, "", "",
                 sum(bool(row["wrong"]) for row in chosen)])  # fmt: skip
    head = ["part", "pieces", "", "trainings", "calls met", "sites", "exit codes", "wrong"]
    return [
        "## Every call that changes the disk",
        "",
        "`calls`: SIGKILL before the call, in the first life of a piece and in its restart. "
        "`errors`: the call fails once, or it and all later ones do (the piece gives up after "
        "0.4 s here, and is started again). A site is a call by its operation and the functions "
        "that led to it; each is met with one of the three schedules, and of its calls the first "
        "and the last, or all (`--count`). Rows without a "
        "`number` are older: they met evenly spaced calls.",
        "",
        *table(head, body),
    ]


def _codes(rows: Sequence[Row]) -> str:
    return ", ".join(f"{code}: {n}" for code, n in sorted(Counter(r["code"] for r in rows).items()))


def _moments(rows: dict[str, list[Row]]) -> list[str]:
    points = rows["points"]
    lines = ["## Moments", ""]
    if points:
        lines += [
            f"- Named points: {sum(row['hits'] for row in points)} kills before and after "
            f"{len({row['point'] for row in points})} functions "
            f"({', '.join(sorted({row['point'] for row in points}))}).",
        ]
    stops = [code for row in rows["stops"] for code in row["codes"]]
    took = [took for row in rows["stops"] for took in row["took_s"]]
    if stops:
        counts = ", ".join(f"{n} with {code}" for code, n in sorted(Counter(stops).items()))
        lines += [
            f"- SIGTERM and SIGUSR1: {len(stops)} pieces ended, {counts}; the slowest took "
            f"{max(took):.2f} s.",
        ]
    zombies = rows["zombies"]
    if zombies:
        outcomes = ", ".join(f"{n} {what}" for what, n in Counter(
            row["outcome"] for row in zombies).items())  # fmt: skip
        lines += [
            f"- SIGSTOP past the lease, replacement, SIGCONT: {len(zombies)} times; the zombies: "
            f"{outcomes}; records of zombies used: {sum(row['used'] for row in zombies)}.",
        ]
    hangs = rows["hangs"]
    if hangs:
        noticed = [row["noticed_s"] for row in hangs if "noticed_s" in row]
        lines += [
            f"- SIGSTOP of the last piece of {_lengths(hangs)}: {len(hangs)} times. The piece "
            "beside it ended with 72 and named it, those below with 71 and its words, at most "
            f"{max(noticed, default=0.0):.1f} s later (`exchange.hang_timeout_s` 6).",
        ]
    full = rows["full"]
    if full:
        lines += [
            f"- A real tmpfs without bytes or inodes for 1 to 2 s: {len(full)} trainings went on "
            f"by themselves, {sum(row['blocked'] for row in full)} of them seen as "
            "`blocked:ENOSPC`.",
        ]
    return [*lines, ""]


def _exchange(rows: dict[str, list[Row]]) -> list[str]:
    lines = ["## The exchange alone", ""]
    flips = [row for row in rows["cases"] if row["number"] == 9]
    if flips:
        regions = ", ".join(f"{row['case'].partition('_')[2]} {row['injections']}" for row in flips)
        noticed = sum(row["injections"] for row in flips if not row["wrong"])
        lines += [
            f"- Single-bit flips noticed: {noticed} of "
            f"{sum(row['injections'] for row in flips)} ({regions}).",
        ]
    copies = rows["copies"]
    if copies:
        lines += [
            f"- 8 copies at once: exactly one won {sum(row['won'] == 1 for row in copies)} of "
            f"{len(copies)} times.",
        ]
    for row in rows["nfs"]:
        lines += [
            f"- Model of NFS with caches of 60 s: {row['messages']} messages after waits of 1 ms "
            f"to 5 min came at most {1000 * row['worst_s']:.1f} ms late (poll cap 50 ms; the "
            f"model's round trips take no time).",
        ]
    return [*lines, ""]


def _cost(rows: list[Row]) -> list[str]:
    if not rows:
        return []
    body = [
        [f"{row['file_system']}, {row['mib']} MiB", row["digest"],
         row["hash_threads"], row["message_ms"], row["message_fastest_ms"], row["message_cpu_ms"],
         row["bare_ms"], row["bare_fastest_ms"], row["bare_cpu_ms"], row["ratio"], row["cpu_ratio"]]
        for row in rows
    ]  # fmt: skip
    head = ["message", "digest", "hash threads", "ms", "fastest", "processor ms", "bare ms",
            "fastest", "processor ms", "ratio", "ratio of processor"]  # fmt: skip
    return [
        "## What it costs",
        "",
        "A message from `send` to the array in the receiver's hands, both in one process, beside a "
        "bare write, rename and read of the same bytes, by turns; medians.",
        "",
        *table(head, body),
        *_cost_of_a_training(rows),
    ]


def _cost_of_a_training(rows: list[Row]) -> list[str]:
    """What the messages of the CIFAR-10 net cost, in shares of its iteration."""
    disk = rows[0]["file_system"]
    found = {
        (row["mib"], row["digest"]): row
        for row in rows
        if row["file_system"] == disk and row["hash_threads"] == 0
    }
    if not {(2, "sha256"), (4, "blake3"), (8, "none")} <= set(found):
        return []
    steps = read_rows(ROOT / "results" / "bench" / "engine_1_thread.jsonl")
    step = [row["step_ms"] for row in steps if row.get("contender") == "engine"]
    lines = [
        "Each end computes the digest once; an unverified message has one too, computed by the "
        f"sender alone. Processor time of 8 MiB on {disk}, without hash threads, and of what the "
        "CIFAR-10 net at batch 256 sends in an iteration, 2 MiB up and 4 MiB down"
        + (f", beside the iteration's {step[0]:.0f} ms on one core" if step else "")
        + " (at most 2 % was the aim, and 3 times a bare copy):",
        "",
    ]
    body = []
    for digest in ("sha256", "blake3", "none", "bare"):
        kind = "bare" if digest == "bare" else "message"
        key = "sha256" if digest == "bare" else digest
        large = found[8, key][f"{kind}_cpu_ms"]
        small = found[2, key][f"{kind}_cpu_ms"] + found[4, key][f"{kind}_cpu_ms"]
        share = f"{small / step[0]:.1%}" if step else ""
        times = f"{large / found[8, key]['bare_cpu_ms']:.2f}"
        body.append(["bare copy" if kind == "bare" else digest, f"{large:.2f}", times,
                     f"{small:.2f}", share])  # fmt: skip
    head = ["digest", "8 MiB, ms", "times a bare copy", "an iteration's messages, ms", "share"]
    return [*lines, *table(head, body)]


def _forty(rows: dict[str, list[Row]]) -> list[str]:
    body = []
    for fault in CATALOGUE:
        injected, wrong = _injected(fault, rows)
        names = [case.run.__name__ for case in CASES if case.number == fault.number]
        where = [part.replace(":", " ") for part in fault.parts]
        where += [f"cases {', '.join(names)}"] if names else []
        body.append([
            f"{fault.number}. {fault.title}", fault.expected, injected or "", wrong or "",
            "; ".join([*where, *([fault.remark] if fault.remark else [])]),
        ])  # fmt: skip
    lines = table(["fault", "expected", "injections", "wrong", "by"], body)
    lines[1] = "| --- | --- | ---: | ---: | --- |"
    return [
        "## The forty cases",
        "",
        "`cases` are those of tests/exchange/cases, which the test suite runs a few times each.",
        "",
        *lines,
    ]


def _injected(fault: Fault, rows: dict[str, list[Row]]) -> tuple[int, int]:
    """How often a fault was injected, and how often anything but the expected came of it."""
    counts = [
        (row["injections"], bool(row["wrong"]))
        for row in rows["cases"]
        if row["number"] == fault.number
    ]
    for name in fault.parts:
        part, _, which = name.partition(":")
        counts += [_count(row, part, which) for row in rows[part]]
    return sum(n for n, _ in counts), sum(wrong for n, wrong in counts if n)


def _count(row: Row, part: str, which: str) -> tuple[int, bool]:
    wrong = bool(row["wrong"])
    if part == "kills":
        tests = {
            "one": lambda kill: len(kill["victims"]) == 1,
            "several": lambda kill: len(kill["victims"]) > 1,
            "recovery": lambda kill: "recovery" in kill["phases"].values(),
        }
        return sum(map(tests[which], row["details"])), wrong
    if part == "errors" and which:
        number = int(row["error"]) if "error" in row else ERRORS[(row["call"] + 1701) % len(ERRORS)]
        return int(row["hits"] > 0 and errno.errorcode[number] in which.split(",")), wrong
    if part == "stops":
        return int(row["signals"]), wrong
    if part == "nfs":
        return int(row["messages"]), wrong
    chosen = {"calls": "life", "full": "full", "copies": "nodes"}
    if which and str(row[chosen[part]]) != which:
        return 0, False
    return int(row.get("hits", 1) > 0), wrong


def _environment(seed: int) -> list[str]:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    return [
        "## Environment",
        "",
        f"Seed {seed} (victims, moments, damage; which instant a moment hits depends on the "
        f"machine). The machine was busy with other work throughout, which makes for more odd "
        f"moments and for wall times that say little. Linux {platform.release()}, "
        f"{os.cpu_count()} cores, Python {platform.python_version()}; summary written at commit "
        f"{commit or 'unknown'}.",
    ]
