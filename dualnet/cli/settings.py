"""The config that a command is given, and what has to be settled before Caffe is imported."""

from __future__ import annotations

import argparse
import os

from dualnet import config
from dualnet.cli.completion import setting_completer
from dualnet.config.provider import use_provider
from dualnet.errors import UsageError
from dualnet.project import PROJECT_FILE

__all__ = ["add_config", "config_path", "load"]


def add_config(command: argparse.ArgumentParser, is_required: bool = False) -> None:
    """CONFIG, by default the project's, and --set."""
    if is_required:
        command.add_argument("config", metavar="CONFIG", help="YAML file, as configs/digits.yaml")
    else:
        command.add_argument(
            "config", metavar="CONFIG", nargs="?", default=PROJECT_FILE,
            help=f"YAML file, as configs/digits.yaml (default: {PROJECT_FILE}, of dualnet new)",
        )  # fmt: skip
    setting = command.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides",
        help="override a key of the config, as train.max_iter=100; may be repeated",
    )  # fmt: skip
    setting.completer = setting_completer  # type: ignore[attr-defined]  # argcomplete asks for it


def config_path(options: argparse.Namespace) -> str:
    """CONFIG, or the project's file.

    Raises:
        UsageError: None was given, and this folder is no project.
    """
    if options.config == PROJECT_FILE and not os.path.exists(PROJECT_FILE):
        raise UsageError(
            f"no CONFIG given, and no {PROJECT_FILE} in this folder: name a run's YAML file, or go "
            "to a project, which dualnet new DIR makes"
        )
    return str(options.config)


def load(options: argparse.Namespace) -> config.Config:
    """The run's config, with its provider settled before Caffe is imported."""
    loaded = config.load(config_path(options), options.overrides)
    use_provider(loaded)
    return loaded
