"""The README.md of a new project."""

from __future__ import annotations

from dualnet.data.recipes import COMMANDS
from dualnet.project import PROJECT_FILE
from dualnet.project.examples import Example

__all__ = ["readme"]

_PROJECT = """# {title}

A net in {pieces} pieces, trained by dualnet: net1 has the data, net{pieces} has the loss, and each
is a process of its own. Made by `dualnet new --example {example}`; all of it is yours to change.

```
{commands}
```

The same on {pieces} nodes that share this folder and have dualnet installed, in any order:

```
{starts}
```

`python3` must be the Python that has dualnet; if it is another one, set `DUALNET_PYTHON`.

| | |
|---|---|
| `{yaml}` | the run: pieces, cuts, what is sent back; `--set KEY=VALUE` overrides a key |
| `prototxt/` | the uncut net (`single`) and the pieces, each with its solver |
| `scripts/` | start a piece on a node, by hand or by Slurm; `--help` says the rest |
| `data/`, `runs/` | what the commands make; git ignores both |

To cut elsewhere, `dualnet plan prototxt/single_train_test.prototxt` measures where, and
`dualnet split --help` shows how. `dualnet --help` lists all commands.
"""

_ALL = """# {title}

All configurations and experiments of dualnet. `configs/README.md` says which is for what.

```
dualnet data digits                        # a data set, once
dualnet train configs/digits.yaml          # all pieces on this machine
dualnet experiment list
dualnet experiment collapse --short        # minutes, on the digits
```

Start the commands in this folder: paths in the files are relative to it.
"""


def readme(example: Example, title: str, pieces: int) -> str:
    """The page's text.

    Args:
        example: What the project begins as.
        title: The project's name.
        pieces: How many pieces its net has.
    """
    if not example.config:
        return _ALL.format(title=title)
    commands = (
        (COMMANDS[example.data], f"the data set, if there is no data/{example.data}"),
        ("dualnet train", "all pieces on this machine; leaves runs/NAME-TIME"),
        ("dualnet evaluate", "accuracy and loss of the latest run"),
        ("dualnet plot -o losses.png", "its loss curves"),
    )
    width = max(len(command) for command, _ in commands)
    starts = [
        f"scripts/run_net.sh {number} {PROJECT_FILE} runs/first     # node {number}"
        for number in range(1, pieces + 1)
    ]
    return _PROJECT.format(
        title=title, pieces=pieces, example=example.name, yaml=PROJECT_FILE,
        commands="\n".join(f"{command:{width}}   # {said}" for command, said in commands),
        starts="\n".join(starts),
    )  # fmt: skip
