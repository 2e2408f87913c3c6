"""What docs, docstrings, comments and messages name exists: files, modules, config keys."""

from __future__ import annotations

import ast
import builtins
import dataclasses
import re
from functools import cache
from pathlib import Path

import pytest

from dualnet.config.schema import Config

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("README.md", "CHANGELOG.md", "setup.py", "pyproject.toml")
FOLDERS = ("configs", "docs", "dualnet", "prototxt", "requirements", "results", "scripts", "tests")
#: Kinds of files that are read.
READ = (".md", ".py", ".yaml", ".sh", ".prototxt", ".toml")

_SUFFIXES = "py|md|yaml|sh|prototxt|proto|toml|txt|jsonl|json|csv|png|svg"
_TOP = rf"(?<![\w./~-])((?:{'|'.join(FOLDERS)})/"
_PATH = re.compile(rf"{_TOP}[\w./-]*\.(?:{_SUFFIXES}))\b(?![\w*{{])")
_FOLDER = re.compile(rf"{_TOP}(?:[\w-]+/)*)(?=[\s`).,:;]|$)")
#: A part in capitals is a placeholder: configs/NAME.yaml.
_PLACEHOLDER = re.compile(r"(?:^|[/_.])[A-Z]{2,}(?=[/_.]|$)(?<!README)(?<!CHANGELOG)")
_FILE = re.compile(r"(?<![\w/.*{}$<-])((?:[a-z][\w-]*/)*[a-z_][\w-]*\.(?:py|md))\b(?![\w/(])")
_MODULE = re.compile(r"(?<![\w./-])dualnet(?:\.[A-Za-z_]\w*)+")
#: Names of files; and the messages, which are made when they are imported.
_NOT_A_MODULE = re.compile(r"dualnet\.(?:egg|log|md|sif|yaml|engine\.proto\.caffe_pb2)\b")
_KEY = re.compile(r"(?<![\w./{-])([a-z]+?)(\d*)\.([a-z]\w*)\b(?!\.?[(/\w])")
_COMMENT = re.compile(r"(?:^|\s)#[ :!].*", re.MULTILINE)
#: What follows a net's name in the name of a file, as in net1.log.
_ENDINGS = {
    "caffemodel", "cpp", "csv", "dot", "h5", "json", "jsonl", "log", "md", "npy", "onnx", "out",
    "pdf", "png", "prototxt", "py", "sbatch", "sh", "solverstate", "svg", "txt", "yaml", "zip",
}  # fmt: skip
#: Files that a command leaves, as the pages say.
MADE = {"results/quickstart/losses.png"}
#: Files of Caffe and of its users.
FOREIGN = {"extract_seconds.py", "parse_log.py", "plot_training_log.py", "pycaffe.py", "script.py"}


@cache
def files():
    """The repository's files that are read, without this one and what is generated."""
    found = [ROOT / name for name in PAGES]
    for folder in FOLDERS:
        found += [path for path in sorted((ROOT / folder).rglob("*")) if path.suffix in READ]
    return [path for path in found if path.name not in ("caffe_pb2.py", Path(__file__).name)]


def comments(text):
    """(line, comment) of a file in which # begins one."""
    for match in _COMMENT.finditer(text):
        yield 1 + text.count("\n", 0, match.end()), match.group()


@cache
def prose(path):
    """(line, text) of what a file says to readers of its code; of its strings and imports."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return list(enumerate(text.splitlines(), 1)), []
    said, strings = list(comments(text)), []
    if path.suffix == ".py":
        for node in ast.walk(ast.parse(text)):
            documents = isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
            if documents and ast.get_docstring(node, clean=False) is not None:
                said.append((node.body[0].lineno, ast.get_docstring(node, clean=False)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                strings.append((node.lineno, node.value))
            elif isinstance(node, ast.ImportFrom):  # also of scripts that no test imports
                strings += [(node.lineno, f"{node.module}.{one.name}") for one in node.names]
    return said, strings


def missing_paths(text):
    """Paths in a text that the repository does not have."""
    named = {match.group(1) for one in (_PATH, _FOLDER) for match in one.finditer(text)} - MADE
    named = {name for name in named if not _PLACEHOLDER.search(name)}
    return sorted(name for name in named if not (ROOT / name).exists())


@cache
def ends_of_files():
    """Each file by all that may be said of its path: c.py, b/c.py, a/b/c.py."""
    paths = [path.relative_to(ROOT).as_posix() for path in files()]
    paths += ["dualnet/engine/proto/caffe_pb2.py", f"tests/{Path(__file__).name}"]
    parts = [path.split("/") for path in paths]
    return {"/".join(names[k:]) for names in parts for k in range(len(names))}


def missing_files(text):
    """Source files and pages, by the end of their path, that nothing here has."""
    named = {match.group(1) for match in _FILE.finditer(text)}
    named = {name for name in named if not name.startswith(("python/", "tools/"))}
    return sorted(named - ends_of_files() - FOREIGN)


@cache
def defined(module):
    """The names that a module of the repository assigns or imports; None without such a module."""
    path = ROOT.joinpath(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    if not path.is_file():
        return None
    names = set(dir(builtins))
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names |= {alias.asname or alias.name for alias in node.names}
    return names


def missing_modules(text):
    """Dotted names below `dualnet` that are neither a module nor a name in one."""
    missing = []
    for match in _MODULE.finditer(text):
        module, rest = match.group(), ""
        if _NOT_A_MODULE.match(module):
            continue
        while defined(module) is None:
            module, _, rest = module.rpartition(".")
        if rest and rest not in defined(module) and not rest.startswith("__"):
            missing.append(match.group())
    return missing


@cache
def sections():
    """The sections of a config and their keys; those of the pieces and cuts without a number."""
    found = {}
    for one in dataclasses.fields(Config):
        made = getattr(Config(), one.name)
        made = made[0] if isinstance(made, tuple) else made
        if dataclasses.is_dataclass(made):
            found[one.name] = {key.name for key in dataclasses.fields(made)}
    found["cut"], found["net"] = found.pop("cuts"), found.pop("pieces")
    return found


def missing_keys(text):
    """`section.key` in a text where the section of a config has no such key."""
    missing = []
    for match in _KEY.finditer(text):
        section, number, key = match.groups()
        # net1.device and cut2.target are keys; net.blobs is code, and only these have numbers.
        is_section = (
            section in sections() and section != "net"
            if not number
            else (section in ("net", "cut"))
        )
        if is_section and key not in sections()[section] | _ENDINGS:
            missing.append(match.group())
    return missing


def report(find, paths, with_strings=False):
    """What a function finds in files, with the place."""
    problems = []
    for path in paths:
        said, strings = prose(path)
        for line, text in said + (strings if with_strings else []):
            problems += [f"{path.relative_to(ROOT)}:{line}: {what}" for what in find(text)]
    return problems


def test_paths_that_are_named_exist():
    assert report(missing_paths, files()) == []


def test_files_that_are_named_exist():
    assert report(missing_files, files()) == []


def test_modules_that_are_named_exist():
    assert report(missing_modules, files(), with_strings=True) == []


def test_config_keys_that_are_named_exist():
    # Without the tests, which misspell keys on purpose.
    paths = [path for path in files() if ROOT / "tests" not in path.parents]
    assert report(missing_keys, paths, with_strings=True) == []


@pytest.mark.parametrize(
    ("find", "text", "expected"),
    [
        (missing_paths, "docs/explanation/exchange.md and `docs/nowhere.md`.", ["docs/nowhere.md"]),
        (missing_paths, "in dualnet/engine/ and dualnet/motor/.", ["dualnet/motor/"]),
        (missing_paths, "runs/x/docs/nowhere.md, configs/NAME.yaml, configs/*.yaml", []),
        (missing_files, "schema.py has it, scheme.py not", ["scheme.py"]),
        (missing_modules, "`dualnet.engine.core.blob.Blob`, dualnet.blob", ["dualnet.blob"]),
        (missing_modules, "dualnet.engine.core.blob.Blub", ["dualnet.engine.core.blob.Blub"]),
        (missing_keys, "set train.max_iter, net3.device and exchange.room", ["exchange.room"]),
        (missing_keys, "cut2.target, `train.snapshots`; net.blobs", ["train.snapshots"]),
    ],
)
def test_what_is_missing_is_found(find, text, expected):
    assert find(text) == expected


def test_docstrings_comments_strings_and_imports_are_read(tmp_path):
    path = tmp_path / "some.py"
    path.write_text(
        '"""One."""\nfrom a import b\n\ndef f():\n    """Two."""\n    return "a # b"  # three\n'
    )
    said, strings = prose(path)
    assert sorted(said) == [(1, "One."), (5, "Two."), (6, ' # b"  # three')]
    assert {(2, "a.b"), (6, "a # b")} <= set(strings)
    assert len(files()) > 500
