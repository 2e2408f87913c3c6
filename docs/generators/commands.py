"""The page of commands: the argument parser in Markdown."""

from __future__ import annotations

import argparse
import contextlib
import io
from collections.abc import Iterator

from dualnet.cli import _parser
from dualnet.engine.command import caffe_command
from generators.markdown import block, escape, paragraphs

__all__ = ["describe", "write"]

_WIDTH = 96


def write() -> Iterator[str]:
    """Every command of `dualnet`, with its usage, its options and its examples."""
    yield from describe(_parser())


def describe(parser: argparse.ArgumentParser, level: int = 2) -> Iterator[str]:
    """The commands of a parser, and theirs, each below a heading of its own.

    Args:
        parser: Its options are left out; its commands are written.
        level: Of their headings.
    """
    for name, command in subcommands(parser).items():
        yield from ("", f"{'#' * level} {command.prog}", "")
        yield from paragraphs(_sentence(command.description or ""))
        yield from block(_caffe_help() if name == "caffe" else _usage(command))
        yield from (f"```{{program}} {command.prog}", "```", "")
        for action in command._actions:
            if _is_shown(action):
                yield from _option(command, action)
        if command.epilog:
            yield from block(command.epilog)
        yield from describe(command, level + 1)


def _sentence(text: str) -> str:
    """A summary as a sentence; longer descriptions are sentences."""
    is_sentence = "\n" in text.strip() or text.endswith((".", ":", "?"))
    return text if is_sentence or not text else f"{text[0].upper()}{text[1:]}."


def subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Name to parser, in the order of the help."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def _is_shown(action: argparse.Action) -> bool:
    is_internal = isinstance(action, (argparse._HelpAction, argparse._SubParsersAction))
    return not is_internal and action.help is not argparse.SUPPRESS


def _usage(command: argparse.ArgumentParser) -> str:
    formatter = command.formatter_class(command.prog, width=_WIDTH)
    formatter.add_usage(command.usage, command._actions, command._mutually_exclusive_groups)
    return formatter.format_help()


def _option(command: argparse.ArgumentParser, action: argparse.Action) -> Iterator[str]:
    """An argument with its meaning, its choices and its default."""
    formatter = command.formatter_class(command.prog, width=_WIDTH)
    if action.option_strings:
        default_name = formatter._get_default_metavar_for_optional(action)
        values = formatter._format_args(action, default_name) if action.nargs != 0 else ""
        signature = ", ".join(f"{name} {values}".rstrip() for name in action.option_strings)
    else:
        default_name = formatter._get_default_metavar_for_positional(action)
        signature = formatter._format_args(action, default_name)
    told = formatter._expand_help(action) if action.help else ""
    words = [f"{told[:1].upper()}{told[1:]}."] if told else []
    if action.choices is not None and action.metavar is not None:
        words.append(f"One of {', '.join(map(str, action.choices))}.")
    if action.option_strings and action.required:
        words.append("Required.")
    is_default = action.default not in (None, False, argparse.SUPPRESS, "", [])
    if is_default and "default" not in told:
        words.append(f"Default: {action.default}.")
    yield from (f"````{{option}} {signature}", escape(" ".join(words)), "````", "")


def _caffe_help() -> str:
    """What `dualnet caffe --help` prints: its flags are not argparse's."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        caffe_command.main(["--help"])
    return printed.getvalue()
