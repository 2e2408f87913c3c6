"""Where the file is that a YAML or a prototxt names.

A relative path is looked for beside the file that names it; then in the working directory, which is
Caffe's rule; then in the folders above the file, so that a project whose prototxt say
`data/digits/train_lmdb` of its top folder can be trained from any directory.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

__all__ = ["find", "looked_in"]


def find(path: str, named_by: str) -> str:
    """Where a file is.

    Args:
        path: The file or folder, as it is named.
        named_by: The file that names it.

    Returns:
        The first place that has it; `path` itself where none has, or where it is absolute.
    """
    if not path or os.path.isabs(path):
        return path
    return next((place for place in _places(path, named_by) if os.path.exists(place)), path)


def looked_in(path: str, named_by: str) -> str:
    """Where `find` has looked, for an error: what stands after "PATH: no such file"."""
    if os.path.isabs(path):
        return ""
    beside = os.path.dirname(os.path.abspath(named_by))
    here = "" if beside == os.getcwd() else f", in the working directory {os.getcwd()}"
    return f" (looked beside {named_by}{here} and in the folders above {beside})"


def _places(path: str, named_by: str) -> Iterator[str]:
    folder = os.path.dirname(named_by)
    yield os.path.normpath(os.path.join(folder, path))
    yield path
    above = os.path.dirname(os.path.abspath(named_by))
    while above != os.path.dirname(above):
        above = os.path.dirname(above)
        yield os.path.join(above, path)
