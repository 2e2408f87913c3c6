"""The examples that a project can begin as, and what of the shipped files each consists of.

The shipped files lie side by side for many runs: configs/digits.yaml names prototxt/digits/… A
project is one run: its YAML is dualnet.yaml, and all its prototxt lie in prototxt/. Nothing else in
them is changed, so a project trains exactly what the example does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from dualnet.config.yaml_text import BadYaml, parse_yaml
from dualnet.errors import UsageError
from dualnet.project import PROJECT_FILE
from dualnet.shipped import shipped, shipped_files
from dualnet.strict_json import to_json

__all__ = ["EXAMPLES", "Example", "contents", "example_named"]

_PROTOTXT = re.compile(r"\bprototxt/\w+/\w+\.prototxt\b")
#: A net beside the solver that names it.
_BESIDE = re.compile(r'(?m)^net: "(\w+\.prototxt)"')
_PROTOTXT_FOLDER = re.compile(r"\bprototxt/\w+(?=[/\s]|$)")
_CONFIG = re.compile(r"\bconfigs/\w+\.yaml\b")
#: Names that a config may have, see dualnet/config/checks.py, and that need no care in a shell.
_NAME = re.compile(r"\w[\w.-]{0,99}")


@dataclass(frozen=True)
class Example:
    """What a project can begin as.

    Attributes:
        name: For `--example`.
        summary: A line for `--list`.
        config: Its YAML among the shipped files; "" stands for all of them, as they are.
        data: The data set that it is trained on, as `dualnet data` calls it.
    """

    name: str
    summary: str
    config: str
    data: str


EXAMPLES = {
    one.name: one
    for one in (
        Example(
            "digits", "handwritten digits in two pieces: a minute on two cores, no download",
            "configs/digits.yaml", "digits",
        ),
        Example(
            "three", "the same net in a chain of three pieces",
            "configs/digits_three.yaml", "digits",
        ),
        Example(
            "cifar10", "CIFAR-10 in two pieces: 50,000 colour images to train on",
            "configs/cifar10.yaml", "cifar10",
        ),
        Example(
            "cats-dogs", "CaffeNet in two pieces, on photographs of your own",
            "configs/cats_dogs.yaml", "cats-dogs",
        ),
        Example(
            "all", "all configurations and experiments of dualnet, as its repository has them",
            "", "digits",
        ),
    )
}  # fmt: skip


def example_named(name: str) -> Example:
    """The example of that name.

    Raises:
        UsageError: There is none.
    """
    if name not in EXAMPLES:
        raise UsageError(f"--example {name}: there is none; choose one of {', '.join(EXAMPLES)}")
    return EXAMPLES[name]


def contents(example: Example, name: str) -> dict[str, str]:
    """The files that a project has of its example, path to text.

    Args:
        example: What it begins as.
        name: The project's, which its runs are called after, where it can be used so.
    """
    if not example.config:
        return {path: shipped(path).read_text(encoding="utf-8") for path in shipped_files()}
    yaml = shipped(example.config).read_text(encoding="utf-8")
    if _NAME.fullmatch(name):
        yaml = re.sub(r"(?m)^name: .*$", f"name: {_quoted(name)}", yaml)
    files = {PROJECT_FILE: _moved(yaml)}
    # From the YAML to its solvers, from those to their nets.
    found, wanted = set(), set(_PROTOTXT.findall(yaml))
    while wanted:
        path = wanted.pop()
        found.add(path)
        text = shipped(path).read_text(encoding="utf-8")
        files[f"prototxt/{path.rpartition('/')[2]}"] = _moved(text)
        beside = {f"{path.rpartition('/')[0]}/{net}" for net in _BESIDE.findall(text)}
        wanted |= {*_PROTOTXT.findall(text), *beside} - found
    for path in shipped_files("scripts"):
        text = shipped(path).read_text(encoding="utf-8")
        files[path] = _moved(text).replace("the repository", "the project")
    return dict(sorted(files.items()))


def _moved(text: str) -> str:
    """A shipped text with the paths of a project in it."""
    text = _CONFIG.sub(PROJECT_FILE, _PROTOTXT_FOLDER.sub("prototxt", text))
    return text.replace(f"dualnet train {PROJECT_FILE}", "dualnet train")


def _quoted(name: str) -> str:
    """A name as YAML: plain, unless that would be something else than text, as `1e3` or `no`."""
    try:
        is_plain = parse_yaml(name) == name
    except BadYaml:
        is_plain = False
    return name if is_plain else to_json(name)
