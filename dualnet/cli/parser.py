"""The parser of the command line: argparse's, with hints for what people type at first."""

from __future__ import annotations

import argparse
import re
from typing import NoReturn

__all__ = ["Parser"]

_SETTING = re.compile(r"[a-z]\w*(\.\w+)+=.*|(name|seed|caffe)=.*")
_UNRECOGNIZED = "unrecognized arguments: "


class Parser(argparse.ArgumentParser):
    """argparse's, whose errors say what is probably missing."""

    def error(self, message: str) -> NoReturn:
        """End with 2, after the usage and a line that says what is wrong.

        Args:
            message: argparse's own.
        """
        if message.startswith(_UNRECOGNIZED):
            words = message[len(_UNRECOGNIZED) :].split()
            settings = [word for word in words if _SETTING.fullmatch(word)]
            if settings:
                message += f"; a key of the config is set by --set {settings[0]}"
        super().error(message)
