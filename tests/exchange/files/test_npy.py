"""Data files: NumPy reads them, and no damage whatever gets past the reader."""

from __future__ import annotations

import os
import pickle
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dualnet.errors import UsageError
from dualnet.exchange.digest import LEAF_BYTES, Hasher
from dualnet.exchange.disk.safefile import Damaged, open_regular
from dualnet.exchange.files.npy import (
    DTYPES,
    HEADER_BYTES,
    TRAILER_BYTES,
    ArrayLayout,
    Trailer,
    read_array,
    read_trailer,
    write_array,
)
from dualnet.exchange.link import Link
from dualnet.fs import Fs
from tests.exchange.fakes import ShortFs

KEY = bytes(range(32))
HASHER = Hasher(0)
LINK = Link("net1", "net2")
NAME = Trailer(b"r" * 16, LINK, "net1", 3, 42, 41, "train", 0, "pool2", 0, bytes(32))


def write(path: Path, array: np.ndarray, fs: Fs | None = None, name: Trailer = NAME) -> Trailer:
    """Write a data file as the channel does; returns its trailer."""
    fs = fs or Fs()
    layout = ArrayLayout.of(name.name, array)
    fd = fs.open(str(path), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    digest = write_array(fs, fd, array, layout, HASHER).digest()
    trailer = replace(name, nbytes=array.nbytes, digest=digest)
    os.write(fd, trailer.pack(KEY))
    fs.close(fd)
    return trailer


def read(
    path: Path, layout: ArrayLayout, fs: Fs | None = None, name: Trailer = NAME, verify: bool = True
) -> np.ndarray:
    """Read a data file as the channel does."""
    fs = fs or Fs()
    size = HEADER_BYTES + layout.nbytes + TRAILER_BYTES
    fd = open_regular(fs, str(path), size, exact=True)
    try:
        expected = replace(name, nbytes=layout.nbytes)
        return read_array(fs, fd, layout, expected, KEY, HASHER, verify)[0]
    finally:
        fs.close(fd)


@pytest.fixture
def sample(tmp_path: Path) -> tuple[Path, np.ndarray, ArrayLayout]:
    """A file, what is in it, and its layout."""
    array = np.random.RandomState(0).rand(2, 3, 4, 5).astype(np.float32)
    path = tmp_path / "sample.npy"
    write(path, array)
    return path, array, ArrayLayout.of("pool2", array)


@settings(deadline=None)
@given(
    hnp.arrays(
        st.sampled_from(sorted(DTYPES)).map(np.dtype),
        hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
        elements=None,
    )
)
def test_round_trip(array: np.ndarray) -> None:
    array = np.asarray(array, order="C")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "any.npy"
        write(path, array)
        back = read(path, ArrayLayout.of("pool2", array))
        loaded = np.load(path)
    assert back.dtype == array.dtype and back.shape == array.shape
    assert back.tobytes() == array.tobytes()
    assert loaded.tobytes() == array.tobytes() and loaded.shape == array.shape


@pytest.mark.parametrize("threads", [0, 2])
@pytest.mark.parametrize("nbytes", [LEAF_BYTES - 4, LEAF_BYTES, LEAF_BYTES + 4, 3 * LEAF_BYTES])
def test_digest_is_the_same_with_and_without_threads(nbytes: int, threads: int) -> None:
    array = np.arange(nbytes // 4, dtype=np.float32)
    hasher = Hasher(threads)
    digests = []
    for any_hasher in (HASHER, hasher):
        stream = any_hasher.stream(b"h" * 128)
        data = array.view(np.uint8).data
        for start in range(0, nbytes, LEAF_BYTES):
            stream.add(data[start : start + LEAF_BYTES])
        digests.append(stream.digest())
    hasher.close()
    assert digests[0] == digests[1]


def test_header_is_numpys_own(sample: tuple[Path, np.ndarray, ArrayLayout], tmp_path: Path) -> None:
    path, array, _ = sample
    np.save(tmp_path / "numpy.npy", array)
    ours, theirs = path.read_bytes(), (tmp_path / "numpy.npy").read_bytes()
    assert ours[: HEADER_BYTES + array.nbytes] == theirs


def test_short_reads_and_writes(tmp_path: Path) -> None:
    array = np.arange(50, dtype=np.float32)
    write(tmp_path / "short.npy", array, ShortFs())
    back = read(tmp_path / "short.npy", ArrayLayout.of("pool2", array), ShortFs())
    np.testing.assert_array_equal(back, array)


def test_every_truncation_is_noticed(sample: tuple[Path, np.ndarray, ArrayLayout]) -> None:
    path, array, layout = sample
    data = path.read_bytes()
    for length in [0, 1, 127, 128, 129, len(data) // 2, len(data) - 128, len(data) - 1]:
        path.write_bytes(data[:length])
        with pytest.raises(Damaged):
            read(path, layout)


def test_truncation_under_the_open_file_is_noticed(
    sample: tuple[Path, np.ndarray, ArrayLayout],
) -> None:
    path, _, layout = sample
    data = path.read_bytes()

    class Shrinking(Fs):
        def readinto(self, fd: int, buffer: memoryview) -> int:
            os.truncate(path, self.length)
            return super().readinto(fd, buffer)

    for length in (0, 127, 128, 300, len(data) - 1):
        path.write_bytes(data)
        fs = Shrinking()
        fs.length = length
        with pytest.raises(Damaged, match="early"):
            read(path, layout, fs)


def test_appended_bytes_are_noticed(sample: tuple[Path, np.ndarray, ArrayLayout]) -> None:
    path, _, layout = sample
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(Damaged, match="bytes long"):
        read(path, layout)


def test_every_flipped_byte_is_noticed(sample: tuple[Path, np.ndarray, ArrayLayout]) -> None:
    path, _, layout = sample
    data = path.read_bytes()
    assert len(data) == 736
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 1 << (position * 5 + 3) % 8
        path.write_bytes(damaged)
        with pytest.raises(Damaged):
            read(path, layout)


def test_without_verify_all_but_the_data_is_checked(
    sample: tuple[Path, np.ndarray, ArrayLayout],
) -> None:
    path, array, layout = sample
    data = path.read_bytes()
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 1
        path.write_bytes(damaged)
        if HEADER_BYTES <= position < HEADER_BYTES + array.nbytes:
            read(path, layout, verify=False)
        else:
            with pytest.raises(Damaged):
                read(path, layout, verify=False)


@pytest.mark.parametrize(
    "change",
    [
        {"run_id": b"s" * 16},
        {"piece": "net2"},
        {"epoch": 4},
        {"seq": 43},
        {"iteration": 42},
        {"kind": "test"},
        {"index": 1},
        {"name": "label"},
    ],
)
def test_a_valid_file_of_another_message_is_refused(tmp_path: Path, change: dict) -> None:
    array = np.ones((4, 5), np.float32)
    write(tmp_path / "other.npy", array, name=replace(NAME, **change))
    with pytest.raises(Damaged, match="another message"):
        read(tmp_path / "other.npy", ArrayLayout.of("pool2", array))


def test_another_runs_key_is_refused(sample: tuple[Path, np.ndarray, ArrayLayout]) -> None:
    path, array, layout = sample
    expected = replace(NAME, nbytes=array.nbytes)
    with pytest.raises(Damaged, match="HMAC"):
        read_trailer(Fs(), str(path), expected, bytes(32))


class Canary:
    """Leaves a trace where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return (os.mkdir, (str(self.path),))


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    payload = tmp_path / "payload.npy"
    np.save(payload, np.array([Canary(canary)], dtype=object), allow_pickle=True)
    layout = ArrayLayout("pool2", "<f4", (4,))
    exact = payload.read_bytes()[: HEADER_BYTES + 16 + TRAILER_BYTES]
    payload.write_bytes(exact.ljust(HEADER_BYTES + 16 + TRAILER_BYTES, b"\0"))
    with pytest.raises(Damaged, match="header"):
        read(payload, layout)
    payload.write_bytes(pickle.dumps(Canary(canary)))
    with pytest.raises(Damaged):
        read(payload, layout)
    assert not canary.exists()


@pytest.mark.parametrize("descr, shape", [(">f4", (4,)), ("<f4", (2, 2)), ("<f4", (2**40,))])
def test_the_header_sizes_nothing(tmp_path: Path, descr: str, shape: tuple) -> None:
    array = np.arange(4, dtype=np.float32)
    path = tmp_path / "header.npy"
    write(path, array)
    data = path.read_bytes()
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"
    forged = b"\x93NUMPY\x01\x00v\x00" + text.ljust(117).encode() + b"\n"
    path.write_bytes(forged + data[HEADER_BYTES:])
    with pytest.raises(Damaged, match="header"):
        read(path, ArrayLayout.of("pool2", array))


def test_what_cannot_travel() -> None:
    with pytest.raises(UsageError, match="dtype"):
        ArrayLayout.of("x", np.array([None]))
    with pytest.raises(UsageError, match=">f4"):
        ArrayLayout.of("x", np.zeros(3, ">f4"))
    with pytest.raises(UsageError, match="axes"):
        ArrayLayout.of("x", np.zeros([1] * 32))
    with pytest.raises(UsageError, match="64"):
        ArrayLayout.of("x" * 65, np.zeros(1))
