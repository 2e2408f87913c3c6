"""The input of all methods: the Data layer's batches and the labels in memory are the same."""

from __future__ import annotations

import numpy as np

from dualnet.backend import caffe
from dualnet.bench.peers import input as module
from dualnet.bench.peers.input import make_input


def test_labels_in_memory_are_those_of_the_records(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "IMAGES", 12)
    found = make_input(str(tmp_path / "new"), 8)
    monkeypatch.chdir(tmp_path / "new")  # as the nets find their data
    net, labels = caffe.Net(found.net, caffe.TRAIN), np.load(found.labels)
    assert list(net.blobs) == ["data", "label"]
    for begin in (0, 8, 16):
        net.forward()
        rows = np.arange(begin, begin + 8) % 12
        np.testing.assert_array_equal(net.blobs["label"].data, labels[rows])
    assert net.blobs["data"].data.shape == (8, 3, 32, 32)
    # Uniform bytes without their mean, scaled by 1/256.
    assert 0.2 < net.blobs["data"].data.std() < 0.35 and abs(net.blobs["data"].data.mean()) < 0.05
