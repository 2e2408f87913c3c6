"""Plain text as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator

__all__ = ["block", "escape", "paragraphs"]

_CODE = re.compile(r"(`[^`]+`)")
_SPECIAL = re.compile(r"([\\*_\[\]<>#|$~^])")


def escape(text: str) -> str:
    """Text whose stars, brackets and so on are meant as they are; `code` in backquotes stays."""
    parts = _CODE.split(text)
    return "".join(part if part[:1] == "`" else _SPECIAL.sub(r"\\\1", part) for part in parts)


def block(text: str, language: str = "text") -> Iterator[str]:
    """The lines of a fenced block."""
    yield from (f"```{language}", *text.rstrip().splitlines(), "```", "")


def paragraphs(text: str) -> Iterator[str]:
    """The lines of a description; paragraphs with an indented line keep their line breaks."""
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        if re.search(r"^\s", paragraph, re.MULTILINE):
            yield from block(paragraph)
        else:
            yield from (escape(" ".join(paragraph.split())), "")
