"""Caffe's message classes for data sets, which need no Caffe that computes."""

from __future__ import annotations

from typing import Any

from dualnet.errors import UsageError

__all__ = ["messages"]


def messages() -> Any:
    """The message classes of the active provider; where there is none, the engine's.

    A process can hold only one set of them. They are imported when they are used, because that
    loads the provider, and most of what is done with data sets does without.
    """
    try:
        from dualnet.backend import caffe_pb2
    except UsageError:
        from dualnet.engine.proto import caffe_pb2 as without_pytorch

        return without_pytorch
    return caffe_pb2
