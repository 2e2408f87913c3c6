"""Checks of a Config that need no net: ranges, and values that exclude each other."""

from __future__ import annotations

import os

from dualnet.config.chain import SINGLE, cut_name
from dualnet.config.cores import parse_cores
from dualnet.config.keys import wrong_values
from dualnet.config.plain import check_plain, sections
from dualnet.config.schema import Config, Coupling
from dualnet.config.yaml_text import shown
from dualnet.errors import ConfigError

__all__ = ["check_values"]

#: File systems take 255 bytes; a time is added to it.
_LONGEST_NAME = 100


def check_values(config: Config, source: str) -> None:
    """Raise ConfigError for the first value that makes no sense. `source` begins the message."""
    check_plain(config, source)
    if not config.name or len(config.name) > _LONGEST_NAME:
        length = f"{len(config.name)} characters, at most {_LONGEST_NAME}"
        raise ConfigError(f"{source}: name: {shown(config.name)} cannot name a folder ({length})")
    if os.sep in config.name or config.name.startswith("."):
        raise ConfigError(
            f"{source}: name: {config.name!r} cannot name a folder in runs/; leave out "
            f"'{os.sep}' and a leading '.'"
        )
    for prefix, section in sections(config):
        for key, problem in wrong_values(section):
            raise ConfigError(f"{source}: {prefix}{key}: {problem}")
    train = config.train
    if train.keep == 1 or train.keep < 0:
        raise ConfigError(
            f"{source}: train.keep: {train.keep}; keep 2 or more, as the latest may be damaged, "
            "or 0 for all"
        )
    for index in range(len(config.cuts)):
        _check_rule(config, config.coupling_of(index), source)
    for name in dict.fromkeys((SINGLE, *config.names)):
        piece = config.piece(name)
        is_gpu = isinstance(piece.device, int) and piece.device >= 0
        if piece.device != "cpu" and not is_gpu:
            raise ConfigError(
                f"{source}: {name}.device: {piece.device!r} is neither cpu nor the number of a GPU"
            )
        try:
            parse_cores(piece.cores or "0")
        except ValueError as error:
            raise ConfigError(f"{source}: {name}.cores: {error}") from error
    _check_chain(config, source)
    if config.exchange.address and config.exchange.carrier == "files":
        raise ConfigError(
            f"{source}: exchange.address: {config.exchange.address} with carrier files, which "
            "needs none; set exchange.carrier to tcp or torch, or drop it"
        )
    _check_update(config, source)
    for index in range(max(1, len(config.cuts))):
        coupling = config.coupling_of(index) if config.cuts else config.coupling
        _check_coupling(coupling, source)


def _check_rule(config: Config, coupling: Coupling, source: str) -> None:
    """Check that the schedule and the exchange allow the rule at a cut."""
    schedule, target, exchange = config.train.schedule, coupling.target, config.exchange
    if schedule != "alternating" and coupling.rule.in_turns:
        raise ConfigError(
            f"{source}: train.schedule: {schedule} with target {target}, {coupling.rule.in_turns}; "
            "use alternating, or target prox"
        )
    dtypes = {exchange.dtype_up or exchange.dtype, exchange.dtype_down or exchange.dtype}
    if coupling.rule.alternates and dtypes != {"float32"}:
        raise ConfigError(
            f"{source}: exchange.dtype: {', '.join(sorted(dtypes))} with target {target}, whose "
            "pieces both keep the multipliers and need the same numbers for them; use float32, or "
            "target gradient"
        )
    if target == "prox" and "int8" in dtypes:
        raise ConfigError(
            f"{source}: exchange.dtype: int8 with target prox, which learns from x - z: that is g "
            f"over rho ({coupling.rho:g}), less than a step of int8; use float32, or target "
            "gradient, which spends the bits on g"
        )


def _check_chain(config: Config, source: str) -> None:
    """Check each cut, and what one cut's rule asks of the cuts beside it."""
    names = config.names
    for index, cut in enumerate(config.cuts):
        key, (lower, upper) = cut_name(index, len(names)), names[index : index + 2]
        if not cut.blobs:
            raise ConfigError(f"{source}: {key}.blobs: empty; name the blobs that {lower} sends up")
        if not cut.dual and not cut.compared:
            raise ConfigError(
                f"{source}: {key}.dual: empty; name {lower}'s layer and its copy in {upper}"
            )
        twice = sorted(set(cut.blobs) & set(cut.labels))
        if twice:
            raise ConfigError(f"{source}: {key}.labels: {twice[0]} is in {key}.blobs too; keep one")
        coupling = config.coupling_of(index)
        target = coupling.target
        if coupling.rule.asks_at_points and index < len(config.cuts) - 1:
            raise ConfigError(
                f"{source}: {key}: target {target} asks {upper} for the loss at other points than "
                f"the batch's, and {upper} does not have the loss; only the last cut can have it, "
                f"set {key}.target=gradient"
            )
        if index and target == "frozen" and config.coupling_of(index - 1).target != "frozen":
            below = cut_name(index - 1, len(names))
            raise ConfigError(
                f"{source}: {below}: target {config.coupling_of(index - 1).target} below {key}, "
                f"whose target is frozen: {lower} learns nothing and has no gradient to hand "
                f"down; set {below}.target=frozen, or give {key} another target"
            )


def _check_update(config: Config, source: str) -> None:
    update = config.update
    one_of = (False, True, *config.names)
    if update.ascend not in one_of:
        raise ConfigError(
            f"{source}: update.ascend: {shown(update.ascend)} is none of "
            f"{', '.join(map(str, one_of))}"
        )
    if update.ascend and update.rule != "manual":
        raise ConfigError(
            f"{source}: update.ascend: with rule {update.rule}; Caffe's solvers only descend, use "
            "update.rule manual"
        )


def _check_coupling(coupling: Coupling, source: str) -> None:
    if coupling.beta_cap < coupling.beta:
        raise ConfigError(
            f"{source}: coupling.beta_cap: {coupling.beta_cap} is below coupling.beta, "
            f"{coupling.beta}; raise the one or lower the other"
        )
    _check_combination(coupling, source)


def _check_combination(coupling: Coupling, source: str) -> None:
    """Refuse combinations in which net1 cannot learn what the user asks for."""
    target, loss, tie = coupling.target, coupling.loss, coupling.tie
    if target == "activation" and tie == "every":
        raise ConfigError(
            f"{source}: coupling.tie: every with target activation compares conv3 with an exact "
            "copy of itself: the loss is zero and net1 learns nothing; use target updated or "
            "gradient"
        )
    if loss == "none" and coupling.loss_weight:
        raise ConfigError(
            f"{source}: coupling.loss_weight: {coupling.loss_weight} with loss none; drop one"
        )
    if not coupling.rule.compares:
        if tie == "every":
            raise ConfigError(
                f"{source}: coupling.tie: every with target {target}, under which net1 has no use "
                "for the dual layers' weights; use start or never"
            )
        if loss not in ("prototxt", "none") or coupling.loss_weight is not None:
            raise ConfigError(
                f"{source}: coupling.loss: {loss} (weight {coupling.loss_weight}) with target "
                f"{target}, under which net1 computes no loss; leave loss prototxt and no weight"
            )
    if target == "admm" and (loss not in ("prototxt", "euclidean") or coupling.loss_weight):
        raise ConfigError(
            f"{source}: coupling.loss: {loss} (weight {coupling.loss_weight}) with target admm, "
            "whose loss is the augmented Lagrangian; use loss euclidean, and beta for the weight"
        )
    if loss == "none" and target in ("prox", "backprop"):
        raise ConfigError(
            f"{source}: coupling.loss: none with target {target}: net1 would learn nothing from "
            "it; use target frozen for the control without a loss"
        )
