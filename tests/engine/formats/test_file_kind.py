"""What a file seems to be that is not what was asked for."""

from __future__ import annotations

import gzip
import io
import pickle

import numpy as np
import pytest

from dualnet.engine.formats.file_kind import guess_kind
from dualnet.engine.proto import caffe_pb2


def npy() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.zeros(3))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 34\n", "Git LFS"),
        (b"<!DOCTYPE html><title>Sign in</title>", "web page"),
        (b"\n  <HTML><body>404", "web page"),
        (b"layer { name: 'a' }", "text"),
        ("Übung".encode(), "text"),
        (gzip.compress(b"x"), "gzip"),
        (b"PK\x03\x04...", "zip archive"),
        (pickle.dumps([1], 2), "pickle"),
        (pickle.dumps([1], 4), "pickle"),
        (npy(), "NumPy"),
        (b"\x89HDF\r\n\x1a\n\0", "HDF5"),
        (b"\0" * 600, "zeros"),
    ],
)
def test_files_that_people_give_in_place_of_weights(content, kind):
    assert kind in guess_kind(content)


@pytest.mark.parametrize("iteration", [0, 5, 127, 128, 70000])
def test_a_solverstate_is_told_from_a_mean_and_from_a_net(iteration):
    state = caffe_pb2.SolverState(iter=iteration, learned_net="a_iter_5.caffemodel")
    assert "solverstate" in guess_kind(state.SerializeToString())
    state = caffe_pb2.SolverState(iter=iteration, history=[caffe_pb2.BlobProto(data=[1])])
    assert "solverstate" in guess_kind(state.SerializeToString())
    mean = caffe_pb2.BlobProto(num=iteration, channels=3, height=1, width=1, data=[1, 2, 3])
    assert guess_kind(mean.SerializeToString()) == ""
    net = caffe_pb2.NetParameter(name="n", layer=[caffe_pb2.LayerParameter(name="\0")])
    assert guess_kind(net.SerializeToString()) == ""
