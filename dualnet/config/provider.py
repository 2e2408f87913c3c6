"""Which Caffe a config asks for, said to `dualnet.backend` before it imports one."""

from __future__ import annotations

import os

from dualnet.config.schema import Config

__all__ = ["use_provider"]


def use_provider(config: Config) -> None:
    """Let a config that names a provider win over the environment."""
    # Caffe's own lines would come beside ours, by the thousand; 2 keeps its errors.
    os.environ.setdefault("GLOG_minloglevel", "2")
    if config.caffe != "auto":
        os.environ["DUALNET_CAFFE"] = config.caffe
