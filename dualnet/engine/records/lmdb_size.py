"""The file of an LMDB database, and whether it is as long as the database says.

Apart from the readers, because it is also used where the engine's messages cannot be imported.
"""

from __future__ import annotations

import os
from typing import Any

__all__ = ["damage", "data_file"]


def data_file(path: str) -> str:
    """The file of a database that is named by its directory, or by the file itself."""
    return os.path.join(path, "data.mdb") if os.path.isdir(path) else path


def damage(environment: Any) -> str:
    """What is wrong with the size of an open database's file, "" if nothing is.

    LMDB maps the file into memory: where it is shorter than its header says, reading kills the
    process by SIGBUS, without a message.
    """
    page_bytes, pages = environment.stat()["psize"], environment.info()["last_pgno"] + 1
    size = os.path.getsize(data_file(environment.path()))
    if size < pages * page_bytes:
        return f"{size} bytes are left of {pages * page_bytes}"
    return ""
