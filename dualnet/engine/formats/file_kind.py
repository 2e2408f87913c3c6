"""What a file probably is, by its first bytes, when it is not what was asked for.

Common mistakes are a Git LFS pointer, a web page that a download left, and the solverstate beside
the weights. An error that names it saves the user a search.
"""

from __future__ import annotations

__all__ = ["HEAD_BYTES", "guess_kind"]

#: How much of a file `guess_kind` reads.
HEAD_BYTES = 512

_MAGIC = (
    (
        b"version https://git-lfs",
        "a Git LFS pointer in the place of the file; fetch the file itself with `git lfs pull`",
    ),
    (b"\x89HDF\r\n\x1a\n", "HDF5"),
    (b"PK\x03\x04", "a zip archive (PyTorch's .pt files are such, too)"),
    (b"\x1f\x8b", "compressed by gzip; unpack it first"),
    (b"\xfd7zXZ\x00", "compressed by xz; unpack it first"),
    (b"BZh", "compressed by bzip2; unpack it first"),
    *((bytes([0x80, protocol]), "a Python pickle") for protocol in (2, 3, 4, 5)),
    (b"\x93NUMPY", "a NumPy array (.npy)"),
)
_PAGES = (b"<!doctype html", b"<html", b"<?xml")


def guess_kind(head: bytes) -> str:
    """What a file probably is.

    Args:
        head: its first bytes, `HEAD_BYTES` or more.

    Returns:
        Words that complete "it is …", perhaps with a remedy; "" for an unknown kind.
    """
    head = head[:HEAD_BYTES]
    if not head:
        return "empty: a write or a download has failed"
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    if head.lstrip().lower().startswith(_PAGES):
        return "a web page, which a download left in the place of the file; download it again"
    if not any(head):
        return "nothing but zeros: a copy or a download was cut short; fetch it again"
    if _begins_as_solver_state(head):
        return "a solverstate; the weights are in the caffemodel beside it"
    if _is_text(head):
        return "text, perhaps a prototxt; weights are in a binary caffemodel or an .h5 file"
    return ""


def _begins_as_solver_state(head: bytes) -> bool:
    """Field 1 is a number (iter) and field 2 has a length (learned_net), or 3 (history)."""
    if head[0] != 0x08:
        return False
    at = 1
    while at < len(head) and head[at] >= 0x80:
        at += 1
    return head[at + 1 : at + 2] in (b"\x12", b"\x1a")


def _is_text(head: bytes) -> bool:
    return not any(byte < 9 or 13 < byte < 32 or byte == 127 for byte in head)
