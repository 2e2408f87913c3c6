"""Snapshot files: the layout that BVLC Caffe reads, and refusals."""

from __future__ import annotations

import numpy as np
import pytest

from dualnet.engine.core.blob import Blob
from dualnet.engine.errors import WeightsError
from dualnet.engine.formats import snapshot

h5py = pytest.importorskip("h5py")


@pytest.fixture
def history():
    blobs = [Blob((2, 3)), Blob((3,))]
    for number, blob in enumerate(blobs):
        blob.data[...] = number + 1
    return blobs


@pytest.mark.parametrize("name", ["run.solverstate", "run.solverstate.h5"])
def test_round_trip(tmp_path, history, name):
    path = str(tmp_path / name)
    snapshot.write_state(path, snapshot.State(7, 2, "here/run_iter_7.caffemodel"), history)
    found = [Blob(b.dims) for b in history]
    assert snapshot.read_state(path, found) == snapshot.State(7, 2, "here/run_iter_7.caffemodel")
    for before, after in zip(history, found):
        np.testing.assert_array_equal(before.data, after.data)


def test_hdf5_strings_end_with_a_zero(tmp_path, history):
    """BVLC Caffe reads past the end of a string without one, and finds no such file."""
    path = str(tmp_path / "run.solverstate.h5")
    snapshot.write_state(path, snapshot.State(7, 2, "model"), history)
    with h5py.File(path, "r") as stream:
        kind = stream["learned_net"].id.get_type()
        assert kind.get_strpad() == h5py.h5t.STR_NULLTERM and kind.get_size() == len("model") + 1
        assert stream["iter"].shape == (1,) and stream["iter"].dtype == np.int32


@pytest.mark.parametrize("name", ["run.solverstate", "run.solverstate.h5"])
def test_another_solvers_history_is_refused(tmp_path, history, name):
    path = str(tmp_path / name)
    snapshot.write_state(path, snapshot.State(7, 2, ""), history)
    with pytest.raises(WeightsError, match="holds 2 history blobs, this solver needs 1"):
        snapshot.read_state(path, history[:1])
    with pytest.raises(WeightsError, match="history 1"):
        snapshot.read_state(path, [history[0], Blob((4,))])
