"""What the raw lines say: medians, ratios within a round, and a page of tables of them."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from itertools import dropwhile, takewhile
from statistics import median
from typing import Any, Optional

__all__ = ["link_line", "page", "settings_of", "summary", "titles"]

Line = Mapping[str, Any]

#: Keys that identify a setting: only lines that agree in all of them are compared.
_SETTING = ("run", "pieces", "cut", "quota", "cores_shared", "batch")
#: Ratios: column to the beginning of the names whose best is compared with.
_RIVALS = {
    "1F1B": ("over_1f1b", "over best 1F1B"), "GPipe": ("over_gpipe", "over best GPipe"),
    "plain": ("over_plain", "over plain"), "single": ("over_single", "over single"),
}  # fmt: skip


def settings_of(lines: Iterable[Line]) -> list[list[Line]]:
    """Raw lines by setting, in their order."""
    found: dict[str, list[Line]] = {}
    for line in lines:
        found.setdefault(repr([line.get(key) for key in _SETTING]), []).append(line)
    return list(found.values())


def summary(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """One record for each method of a setting.

    Args:
        lines: The setting's.

    Returns:
        `contender` (the method's name), `iteration_ms` (the median), `samples_per_s`, `rounds`,
        `cpu_ms` (of all processes), `best` (whether it is the best number of micro-batches of its
        family), and ratios `over_1f1b`, `over_gpipe`, `over_plain`, `over_single`: how many times
        faster it is than the best of those, the median of the ratios within the rounds that both
        took part in.
    """
    times: dict[str, dict[int, float]] = {}
    for line in lines:
        times.setdefault(line["contender"], {})[line["round"]] = line["iteration_ms"]
    # A method left out after the first round is not the best, whatever times the others have later.
    most = max(map(len, times.values()))
    medians = {name: median(each.values()) for name, each in times.items()}
    records = []
    for name, own in times.items():
        alike = [other for other in times if _family(other) == _family(name)]
        mine = [line for line in lines if line["contender"] == name]
        record: dict[str, Any] = {
            "contender": name, "iteration_ms": round(medians[name], 2), "rounds": len(own),
            "samples_per_s": round(lines[0]["batch"] / medians[name] * 1e3, 1),
            "cpu_ms": round(median(sum(line["cpu_ms"]) for line in mine), 1),
            "best": name == _best(alike, times, medians, most),
        }  # fmt: skip
        if any("link_cpu_ms" in line for line in mine):
            record["link_cpu_ms"] = round(median(line["link_cpu_ms"] for line in mine), 2)
        for start, (key, _) in _RIVALS.items():
            rivals = [other for other in times if other.startswith(start)]
            best = _best(rivals, times, medians, most)
            common = [number for number in own if best and number in times[best]]
            if best and common:
                record[key] = round(median(times[best][n] / own[n] for n in common), 3)
        records.append(record)
    return records


def _family(name: str) -> str:
    """A method's name without its number of micro-batches."""
    head, _, last = name.rpartition(" ")
    return head if last.isdigit() and "overlapped" not in head else name


def _best(
    names: Sequence[str],
    times: Mapping[str, Mapping[int, float]],
    medians: Mapping[str, float],
    most: int,
) -> Optional[str]:
    """The fastest of the methods that took part in most rounds."""
    stayed = [name for name in names if len(times[name]) == most] or list(names)
    return min(stayed, key=lambda name: medians[name], default=None)


def titles(settings: Sequence[Sequence[Line]]) -> list[str]:
    """Each setting in some words; where these are another's too, with the keys that were set."""
    names = [_title(lines[0]) for lines in settings]
    return [
        f"{name}, {_keys_set(lines[0])}" if names.index(name) < place else name
        for place, (name, lines) in enumerate(zip(names, settings))
    ]


def _keys_set(line: Line) -> str:
    """What --set says in the command of a line."""
    words = iter(shlex.split(line["command"]))
    after = list(dropwhile(lambda word: word != "--set", words))[1:]
    return " ".join(takewhile(lambda word: not word.startswith("-"), after)) or "nothing set"


def _title(line: Line) -> str:
    words = f"{line['pieces']} pieces"
    if line["quota"]:
        words += f", a quota of {line['quota']:g} cores each"
    elif line["cores_shared"]:
        words += " on shared cores"
    else:
        words += f", {line['cores_each']} core{'s'[: line['cores_each'] > 1]} each"
    if line["link"]:
        words += f", {line['link']['latency_ms']:g} ms and {line['link']['gbit']:g} Gbit/s"
    return words


def page(lines: Sequence[Line], raw: str, figure: str) -> str:
    """The Markdown of a file of raw lines.

    Args:
        lines: They.
        raw: The file's name.
        figure: The name of what scripts/plot_throughput.py draws of it.
    """
    commands = dict.fromkeys(line["command"] for line in lines)
    text = [
        "# Chains beside PyTorch's pipelines", "", *(f"    {command}" for command in commands),
        f"    scripts/plot_throughput.py {shlex.quote(raw)} -o {shlex.quote(figure)}", "",
        f"These commands leave raw lines in `{raw}`, and write this page from them.",
        "", _EXPLAINED, "", f"![images per second]({figure})",
    ]  # fmt: skip
    text += ["", *_overview(lines)]
    settings = settings_of(lines)
    for name, setting in zip(titles(settings), settings):
        text += ["", f"## {name}", "", *_facts(setting), "", *_table(setting)]
    return "\n".join(text) + "\n"


_EXPLAINED = """\
The CIFAR-10 net, the same for all. Random images in an LMDB, read by the same layer, the engine's
Data, in dualnet's first piece, PyTorch's first stage and the single processes; labels go up the
chain in dualnet and are in memory in PyTorch's last stage. GPipe and 1F1B are
`torch.distributed.pipelining` over gloo with as many stages as pieces, cut at the same blobs.
`plain` is plain PyTorch and `single` dualnet's single net, each in one process with as much
processor time as all pieces together. The others are dualnet's, named by carrier, target and
schedule, with the number of micro-batches (pipelined) or of batches ahead (overlapped). Every
method trains once in each round, and each round begins with another one. Times are medians, ratios
are medians of those within a round: above 1 is faster than that rival. **Bold**: the best number of
micro-batches; those much slower in the first round are not tried again."""


def _overview(lines: Sequence[Line]) -> list[str]:
    """How many times faster than the best 1F1B each kind is, a column for each setting."""
    columns: dict[str, dict[str, float]] = {}
    settings = settings_of(lines)
    for name, setting in zip(titles(settings), settings):
        best = [record for record in summary(setting) if record["best"] and "over_1f1b" in record]
        columns[name] = {_family(record["contender"]): record["over_1f1b"] for record in best}
    kinds = dict.fromkeys(kind for column in columns.values() for kind in column)
    return [
        "Times as fast as the best 1F1B:", "", "| | " + " | ".join(columns) + " |",
        "|---|" + "---:|" * len(columns),
        *(f"| {kind} | " + " | ".join(f"{column[kind]:.2f}" if kind in column else ""
                                      for column in columns.values()) + " |" for kind in kinds),
    ]  # fmt: skip


def _facts(setting: Sequence[Line]) -> list[str]:
    first, loads = setting[0], [line["load"] for line in setting]
    count = max(line["round"] for line in setting)
    dates = sorted(line["date"][:16] for line in setting)
    words = [
        f"Cut {first['cut']}; batch {first['batch']}; {count} rounds of {first['iterations']} "
        f"iterations after {first['warm_up']}; {first['threads']} "
        f"thread{'s'[: first['threads'] > 1]} a piece, {first['threads_whole']} in one process.",
        f"{first['machine']}, {first['cores']} cores, Python {first['python']}, "
        f"PyTorch {first['torch']}; commit {first['commit']}; {dates[0]} to {dates[-1]} UTC; "
        f"load before a training {min(loads):g} to {max(loads):g}.",
    ]
    if first["quota_by"]:
        words.append(
            f"Quotas by {first['quota_by']}, from the second iteration on; on whichever cores."
        )
    if first["link"]:
        words += ["", link_line(first["link"])]
    return words


def _table(setting: Sequence[Line]) -> list[str]:
    records = summary(setting)
    is_carried = any("link_cpu_ms" in record for record in records)
    columns = [(key, words) for key, words in _RIVALS.values() if any(key in r for r in records)]
    lines = [
        "| method | iteration | images/s | all processors | "
        + "".join(f"{words} | " for _, words in columns)
        + ("link's CPU | " if is_carried else ""),
        "|---|---:|---:|---:|" + "---:|" * (len(columns) + is_carried),
    ]
    for record in records:
        many = _family(record["contender"]) != record["contender"]
        name = f"**{record['contender']}**" if many and record["best"] else record["contender"]
        lines.append(
            f"| {name} | {record['iteration_ms']:.1f} ms | {record['samples_per_s']:.0f} "
            f"| {record['cpu_ms']:.0f} ms | "
            + "".join(f"{record.get(key, '')} | " for key, _ in columns)
            + (f"{record.get('link_cpu_ms', 0):.1f} ms | " if is_carried else "")
        )
    return [line.rstrip() for line in lines]


def link_line(link: Line) -> str:
    """How the link is made, and what the check found."""
    by = f"{link['kind']} in the kernel"
    if link["kind"] == "tun":
        by = f"a process between tun cards ({link['refusal'] or 'as asked'})"
    up, down = link["mb_per_s"]
    at_once = " and ".join(f"{rate:g}" for rate in link["mb_per_s_at_once"])
    line = (
        f"Link: {link['latency_ms']:g} ms each way, {link['gbit']:g} Gbit/s, by {by}. Measured "
        f"with a TCP socket: round trip {link['rtt_ms']:g} ms; {up:g} MB/s up, {down:g} MB/s down; "
        f"at once {at_once} MB/s."
    )
    if link["cpu_share"] is not None:
        line += f" One way at the full rate takes {link['cpu_share']:.1%} of a core."
    return line + (f" DOUBTFUL: {link['doubt']}." if link["doubt"] else "")
