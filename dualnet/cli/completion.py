"""`dualnet completion SHELL`: commands, options, files and keys of the config on the Tab key.

The work is argcomplete's, which asks the parser itself; each request starts `dualnet`, so that the
parser must load nothing heavy.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from typing import Any

from dualnet.errors import UsageError

__all__ = ["add", "complete", "setting_completer"]

_EXAMPLES = """examples:
  eval "$(dualnet completion bash)"                              in ~/.bashrc
  eval "$(dualnet completion zsh)"                               in ~/.zshrc, after compinit
  dualnet completion fish > ~/.config/fish/completions/dualnet.fish
"""


def add(commands: Any) -> None:
    """Add the command to the parser."""
    summary = "print what makes a shell complete dualnet's commands, options and keys"
    command = commands.add_parser(
        "completion", help=summary, description=summary, epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    command.set_defaults(run=_completion)
    command.add_argument("shell", choices=("bash", "zsh", "fish"))


def _completion(options: argparse.Namespace) -> None:
    try:
        import argcomplete
    except ImportError as error:
        raise UsageError(
            "completion: the package argcomplete is not installed; pip install argcomplete"
        ) from error
    sys.stdout.write(argcomplete.shellcode(["dualnet"], shell=options.shell))


def complete(parser: argparse.ArgumentParser) -> None:
    """Answer a shell that asks for completions, and end; return at once where none asks."""
    try:
        import argcomplete
    except ImportError:  # as in the real Caffe's interpreter
        return
    argcomplete.autocomplete(parser)


def setting_completer(prefix: str, **_: Any) -> list[str]:
    """What may follow --set: every key, and after `=` the words that it may be."""
    from dualnet.config import Config
    from dualnet.config.keys import words_of
    from dualnet.config.plain import sections

    found = []
    for section, value in sections(Config()):
        for entry in dataclasses.fields(value):
            key = f"{section}{entry.name}"
            if dataclasses.is_dataclass(getattr(value, entry.name)) or key in ("pieces", "cuts"):
                continue
            found.append(f"{key}=")
            found += [f"{key}={word}" for word in words_of(entry)]
    return [one for one in found if one.startswith(prefix)]
