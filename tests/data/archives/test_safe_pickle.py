"""The unpickler: arrays of every protocol come through, anything else does not run."""

from __future__ import annotations

import os
import pickle
import subprocess

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dualnet.data.archives.safe_pickle import load_arrays


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_all_protocols(protocol, order):
    array = np.asarray(np.arange(24, dtype=np.uint8).reshape(4, 6), order=order)
    batch = {"data": array, "labels": [1, 2], "name": "x", b"raw": b"\xff\x00", "f": array * 0.5}
    loaded = load_arrays(pickle.dumps(batch, protocol))
    assert np.array_equal(loaded["data"], array) and loaded["data"].dtype == np.uint8
    assert np.array_equal(loaded["f"], array * 0.5)
    assert loaded["labels"] == [1, 2]


def test_arrays_of_python_2():
    # The opcodes that Python 2 writes for {'data': array([[7, 200]], dtype=uint8)}, protocol 0.
    content = (
        b"(dp0\nS'data'\np1\ncnumpy.core.multiarray\n_reconstruct\np2\n(cnumpy\nndarray\np3\n(I0\n"
        b"tp4\nS'b'\np5\ntp6\nRp7\n(I1\n(I1\nI2\ntp8\ncnumpy\ndtype\np9\n(S'u1'\np10\nI0\nI1\ntp11\n"
        b"Rp12\n(I3\nS'|'\np13\nNNNI-1\nI-1\nI0\ntp14\nbI00\nS'\\x07\\xc8'\np15\ntp16\nbs."
    )
    (key,), (array,) = zip(*load_arrays(content).items())
    assert key == "data"
    assert array.tolist() == [[7, 200]] and array.dtype == np.uint8


class _Call:
    def __init__(self, function, *arguments):
        self._reduced = (function, arguments)

    def __reduce__(self):
        return self._reduced


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (os.system, ("touch {}",)),
        (subprocess.Popen, (["touch", "{}"],)),
        (eval, ("open({!r}, 'w')",)),
        (getattr, (os, "system")),
        (np.load, ("{}",)),
        (np.fromfile, ("{}",)),
    ],
)
def test_calls_are_refused(function, arguments, tmp_path):
    target = tmp_path / "touched"
    filled = [[str(target) if a == "{}" else a for a in arg] if isinstance(arg, list)
              else arg.format(str(target)) if isinstance(arg, str) else 0
              for arg in arguments]  # fmt: skip
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        content = pickle.dumps({"data": _Call(function, *filled)}, protocol)
        with pytest.raises(pickle.UnpicklingError, match="which is no part of an array"):
            load_arrays(content)
    assert not target.exists()


def test_arrays_of_objects_are_refused():
    content = pickle.dumps(np.array([{}, 1], dtype=object))
    with pytest.raises(pickle.UnpicklingError, match="may hold any object"):
        load_arrays(content)


@settings(max_examples=300, deadline=None)
@given(cut=st.integers(0, 400), byte=st.integers(0, 255), garbage=st.binary(max_size=60))
def test_damage_gives_one_kind_of_error(cut, byte, garbage):
    good = pickle.dumps({"data": np.arange(20, dtype=np.uint8), "labels": [1, 2, 3]}, 2)
    cut %= len(good)
    for content in (good[:cut], good[:cut] + bytes([byte]) + good[cut + 1 :], garbage):
        try:
            load_arrays(content)
        except pickle.UnpicklingError:
            pass


def test_object_numbers_that_would_take_all_memory():
    """C's unpickler makes a table as long as the highest number: here 32 GB."""
    content = pickle.dumps([1, "two"], 2)
    assert content[2:5] == b"]q\x00"
    wild = content[:3] + b"r\xff\xff\xff\x7f" + content[5:]
    assert load_arrays(wild) == [1, "two"]


def test_lists_of_lists_stay_small():
    nested = [0] * 10
    for _ in range(12):
        nested = [nested] * 10
    assert len(load_arrays(pickle.dumps(nested))) == 10  # ten references, not 10^13 numbers
