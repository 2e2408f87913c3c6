"""Listed runs as text for people: several as a table, one at length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional

from dualnet.columns import aligned
from dualnet.report.compare.listing import Listed
from dualnet.report.compare.settings import differing, short_names
from dualnet.report.lives import Life

__all__ = ["duration", "to_table", "to_text"]

_AFTER = ("state", "iteration", "loss", "accuracy", "best", "time", "it/s", "samples/s")


def to_table(listed: Sequence[Listed], width: Optional[int] = None) -> str:
    """Runs as a table: the settings in which they differ, how far they are, how good and how fast.

    Args:
        listed: The runs.
        width: Characters of a line. Where the settings have no room beside the rest, each run has
            them in a line of its own. None: there is room.
    """
    keys = differing([one.settings for one in listed])
    names = short_names(keys)
    results = [_results(one) for one in listed]
    used = [k for k in range(len(_AFTER)) if any(row[k] for row in results)]
    after = [[_AFTER[k] for k in used], *([row[k] for k in used] for row in results)]
    before = [["run", *names.values()]]
    before += [[one.run_dir, *(one.settings.get(key, "") for key in keys)] for one in listed]
    lines = aligned([a + b for a, b in zip(before, after)], range(2 + len(keys)))  # with the state
    if width is None or max(map(len, lines)) <= width:
        return "".join(f"{line}\n" for line in lines)
    lines = aligned([a[:1] + b for a, b in zip(before, after)], range(2))
    for place in range(len(listed), 0, -1):
        words = [
            f"{name}={value}" for name, value in zip(names.values(), before[place][1:]) if value
        ]
        lines[place + 1 : place + 1] = _wrapped(words, width)
    return "".join(f"{line}\n" for line in lines)


def _wrapped(words: Sequence[str], width: int) -> list[str]:
    lines: list[str] = []
    for word in words:
        if lines and len(lines[-1]) + 2 + len(word) <= width:
            lines[-1] += f"  {word}"
        else:
            lines.append(f"    {word}")
    return lines


def _results(one: Listed) -> list[str]:
    accuracies = [None, None] if one.has_diverged else [one.accuracy, one.best_accuracy]
    return [
        one.state,
        _iteration(one),
        "" if one.loss is None else f"{one.loss:.4g}",
        *("" if value is None else f"{value:.4f}" for value in accuracies),
        "" if one.time_s is None else duration(one.time_s),
        *("" if v is None else _rate(v) for v in (one.iterations_per_s, one.samples_per_s)),
    ]


def _rate(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _iteration(one: Listed) -> str:
    text = "" if one.iteration is None else str(one.iteration)
    return f"{text}/{one.max_iter}" if text and one.max_iter is not None else text


def duration(seconds: float) -> str:
    """A time as people say it: 0.4 s, 12 s, 3 min 20 s, 2 h 05 min, 3 d 4 h."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    hours = round(seconds / 3600)
    return f"{hours // 24} d {hours % 24} h"


def to_text(one: Listed) -> str:
    """One run at length: what it came to, each life of its pieces, and what they were made with."""
    state, iteration, loss, accuracy, best, time, speed, samples = _results(one)
    reached = [f"iteration {iteration}" if iteration else "", f"loss {loss}" if loss else ""]
    reached.append(f"accuracy {accuracy}" if accuracy else "")
    reached.append(f"best {best} at iteration {one.best_iteration}" if best else "")
    took = [
        time,
        f"{speed} iterations/s" if speed else "",
        f"{samples} samples/s" if samples else "",
    ]
    lines = [one.run_dir, *_field("state", [state]), *_field("reached", reached)]
    lines += _field("time", took)
    rows = [
        [name, f"life {life.number}", life.began.replace("T", " ").replace("+00:00", " UTC"),
         "" if life.wall_s is None else duration(life.wall_s), _iterations(life), _end(life),
         _place(life)]
        for name, lives in one.lives.items()
        for life in lives
    ]  # fmt: skip
    if rows:
        lines += [f"  {line}" for line in aligned(rows, range(len(rows[0])))]
    latest = [lives[-1] for lives in one.lives.values() if lives]
    for label, word in (("made with", _made_with), ("command", _command), ("seed", _seed)):
        for text in dict.fromkeys(word(life.facts) for life in latest):
            lines += _field(label, [text])
    for text in dict.fromkeys(text for life in latest for text in _data(life.facts)):
        lines += _field("data", [text])
    settings = _wrapped([f"{key}={value}" for key, value in one.settings.items() if value], 100)
    lines += [f"  {'' if k else 'settings':9}{line[2:]}" for k, line in enumerate(settings)]
    return "".join(f"{line}\n" for line in lines)


def _field(label: str, words: Sequence[str]) -> list[str]:
    text = ", ".join(word for word in words if word)
    return [f"  {label:9}  {text}"] if text else []


def _iterations(life: Life) -> str:
    last = "?" if life.last_iteration is None else str(life.last_iteration)
    return f"{life.first_iteration} to {last}"


def _end(life: Life) -> str:
    code = f" ({life.exit_code})" if life.exit_code else ""
    return f"{life.state}{code}"


def _place(life: Life) -> str:
    facts = life.facts
    device = facts.get("device", "")
    where = f"GPU {device}" if isinstance(device, int) else str(device)
    if facts.get("gpu"):
        where += f" ({facts['gpu']})"
    if facts.get("threads"):
        where += f", threads: {facts['threads']}"
    host = str(life.process.get("host", ""))
    return ", ".join(word for word in (host, where) if word)


def _made_with(facts: dict[str, Any]) -> str:
    if not facts:
        return ""
    commit = str(facts.get("commit") or "")
    commit = f" ({commit[:12]}{'-dirty' if commit.endswith('-dirty') else ''})" if commit else ""
    words = [f"dualnet {facts.get('dualnet', '')}{commit}", f"Python {facts.get('python', '')}"]
    words.append(f"{facts.get('provider', '')} Caffe {facts.get('provider_version', '')}".rstrip())
    words += [f"{name} {version}" for name, version in dict(facts.get("libraries") or {}).items()]
    return ", ".join(words)


def _command(facts: dict[str, Any]) -> str:
    return " ".join(map(str, facts.get("launched_by") or facts.get("command") or []))


def _seed(facts: dict[str, Any]) -> str:
    seed = facts.get("seed")
    if not isinstance(seed, dict):
        return ""
    own = seed.get("solver_random_seed")
    beside = f" (the solver's random_seed, {own}, has no effect)" if own is not None else ""
    return f"{seed.get('used')}, the config's{beside}"


def _data(facts: dict[str, Any]) -> list[str]:
    return [f"{one.get('path')}: {one.get('holds')}" for one in facts.get("data") or []]
