"""What to call runs that are shown together: their names, and only what sets them apart."""

from __future__ import annotations

import re
from collections.abc import Sequence

from dualnet.config import Config
from dualnet.config.chain import SINGLE
from dualnet.report.runs import PLAIN, Run, shortest_names

__all__ = ["in_common", "tell_apart"]

#: What a run is, each fact under a name. "" is what needs no word, as a default; a fact that is not
#: there means nothing for the run, as a target for the single net.
Facts = dict[str, str]


def tell_apart(runs: Sequence[Run]) -> list[str]:
    """A label for each run: its name, and those of its facts that differ between the runs."""
    facts = [_facts(run) for run in runs]
    different = _different(facts)
    labels = []
    for name, own in zip(shortest_names([run.path for run in runs]), facts):
        words = [own[key] for key in different if own.get(key) and not _is_said(own[key], name)]
        labels.append(", ".join([name, *words]))
    return labels


def in_common(runs: Sequence[Run]) -> str:
    """What all the runs are, in a line; "" if nobody knows."""
    facts = [_facts(run) for run in runs]
    left_out = {*_different(facts), "seed"}
    # The single net has fewer facts than a chain, and none of its own.
    most = max(facts, key=len, default={})
    return ", ".join(word for key, word in most.items() if word and key not in left_out)


def _different(facts: Sequence[Facts]) -> list[str]:
    """The facts that not all runs that have them share."""
    keys = dict.fromkeys(key for own in facts for key in own)
    return [key for key in keys if len({own[key] for own in facts if key in own}) > 1]


def _is_said(fact: str, name: str) -> bool:
    """Whether the name of a run says a fact already, as `single` of a single net."""
    said, told = (set(re.findall(r"[0-9a-z.]+", text.lower())) for text in (name, fact))
    return told - {"net", "target", "tie"} <= said


def _facts(run: Run) -> Facts:
    config = run.config
    if config is None:
        return {}
    if set(run.logs) <= {SINGLE, PLAIN}:
        return {"net": config.name, "pieces": "single net", **_settings(config)}
    couplings = [config.coupling_of(index) for index in range(len(config.cuts))]
    losses = dict.fromkeys(one.loss for one in couplings)
    ties = dict.fromkeys(one.tie for one in couplings)
    return {
        "net": config.name,
        "pieces": f"{len(config.pieces)} pieces",
        "target": "target " + " / ".join(dict.fromkeys(one.target for one in couplings)),
        "loss": "" if set(losses) == {"prototxt"} else "loss " + " / ".join(losses),
        "tie": "tie " + " / ".join(ties),
        "schedule": _schedule(config),
        "steps": f"{config.train.local_steps} local steps" if config.train.local_steps > 1 else "",
        "dtype": "" if config.exchange.dtype == "float32" else config.exchange.dtype,
        **_settings(config),
    }


def _settings(config: Config) -> Facts:
    """What any net may have of its own."""
    batch, rate = config.train.batch_size, config.update.learning_rate
    return {
        "batch": f"batches of {batch}" if batch else "",
        "rate": f"learning rate {rate:g}" if rate is not None else "",
        "rule": "" if config.update.rule == "solver" else f"update {config.update.rule}",
        "seed": f"seed {config.seed}",
    }


def _schedule(config: Config) -> str:
    train = config.train
    if train.schedule == "pipelined":
        return f"pipelined in {train.micro_batches}"
    if train.schedule == "overlapped":
        return f"overlapped by {train.staleness}"
    return train.schedule
