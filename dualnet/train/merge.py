"""A dual run as one model: what `dualnet merge` writes."""

from __future__ import annotations

import os
from typing import Any, Optional

from dualnet.atomic import write_together
from dualnet.config import Config
from dualnet.cut.deploy import deploy_net, input_shapes
from dualnet.cut.merge import DUAL_SOURCES, merge_models, merge_nets
from dualnet.cut.prototxt import format_fields
from dualnet.errors import StorageFailed, UsageError
from dualnet.train import checkpoint

__all__ = ["merge"]


def merge(
    run_dir: str,
    config: Config,
    output: str,
    dual: str = "net2",
    iteration: Optional[int] = None,
    force: bool = False,
) -> list[str]:
    """Write the caffemodel, train_test and deploy prototxt of the single net that a run trained.

    Args:
        run_dir: The run.
        config: Its config.
        output: The caffemodel; the prototxt get its name without the extension, and
            `_train_test.prototxt` and `_deploy.prototxt`.
        dual: Whose dual layers it has. net2's were trained on the labels' loss, and are those that
            `evaluate` uses; net1's followed them.
        iteration: A snapshot's iteration; default the latest.
        force: Replace files that are there.

    Returns:
        The paths of the three.

    Raises:
        UsageError: The run has one net only, or no such snapshot, or a file is there already.
        ConfigError: The halves do not fit together, or the data set is not there.
        StorageFailed: The files cannot be written.
    """
    if dual not in DUAL_SOURCES:
        raise UsageError(f"--dual {dual}: valid values are {', '.join(DUAL_SOURCES)}")
    if checkpoint.roles_of(run_dir) == ("single",):
        raise UsageError(
            f"{run_dir}: a run of the single net; its single_iter_N.caffemodel is whole already"
        )
    number, models = checkpoint.find(run_dir, iteration)
    one, two = (f"{run_dir}/{role}_train_test.prototxt" for role in ("net1", "net2"))
    net = merge_nets(one, two, config.cut, config.name)
    labels = config.cut.labels
    model = merge_models(net, models, config.cut.dual, dual)
    deploy = deploy_net(net, labels, input_shapes(one, labels))
    stem = output[: -len(".caffemodel")] if output.endswith(".caffemodel") else output
    origin = f"{os.path.normpath(run_dir)}, iteration {number}, dual layers of {dual}"
    files = {
        output: model.SerializeToString(),
        f"{stem}_train_test.prototxt": _text(net, f"Merged by dualnet merge from {origin}."),
        f"{stem}_deploy.prototxt": _text(deploy, f"Deploy net of {origin}."),
    }
    try:
        write_together(files, force)
    except FileExistsError as error:
        raise UsageError(
            f"{error.filename} exists already: give --force to replace it, or another -o FILE"
        ) from error
    except OSError as error:
        raise StorageFailed(
            f"{output}: cannot write the merged net: {error.strerror}; choose another -o FILE"
        ) from error
    return list(files)


def _text(net: Any, comment: str) -> bytes:
    return f"# {comment}\n{format_fields(net)}".encode()
