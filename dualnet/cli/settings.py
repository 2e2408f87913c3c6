"""The config that a command is given, and what has to be settled before Caffe is imported."""

from __future__ import annotations

import argparse
import time

from dualnet import config
from dualnet.cli.completion import setting_completer
from dualnet.config.provider import use_provider
from dualnet.rundir import RunDir

__all__ = ["add_config", "load", "run_dir"]


def add_config(command: argparse.ArgumentParser) -> None:
    """CONFIG and --set."""
    command.add_argument("config", metavar="CONFIG", help="YAML file, as configs/digits.yaml")
    setting = command.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides",
        help="override a key of the config, as train.max_iter=100; may be repeated",
    )  # fmt: skip
    setting.completer = setting_completer  # type: ignore[attr-defined]  # argcomplete asks for it


def load(options: argparse.Namespace) -> config.Config:
    """The run's config, with its provider settled before Caffe is imported."""
    loaded = config.load(options.config, options.overrides)
    use_provider(loaded)
    return loaded


def run_dir(options: argparse.Namespace, loaded: config.Config) -> RunDir:
    """The directory that was asked for, else one named after the config and the time."""
    now = time.strftime("%Y%m%d-%H%M%S")
    return RunDir(options.run_dir or config.default_run_dir(loaded, now))
