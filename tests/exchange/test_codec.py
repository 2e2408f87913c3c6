"""Sending in fewer bits, over the carrier of files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dualnet.errors import ConfigError, DamagedMessage, UsageError
from dualnet.exchange.channel import Message
from dualnet.exchange.codec import Codec
from dualnet.exchange.compress import decode, encode
from dualnet.exchange.files.channel import FileChannel
from tests.exchange.conftest import OpenEnd


def blob(iteration: int, *shape: int) -> np.ndarray:
    """Activations, (N, C, H, W) float32."""
    return np.random.RandomState(iteration).randn(*(shape or (4, 3, 5, 5))).astype(np.float32)


def up(iteration: int, kind: str = "up") -> Message:
    """What net1 sends."""
    label = np.arange(4, dtype=np.float32) + 0.3
    weights = np.full((4, 2), 1 / 3, np.float32)
    return Message(kind, iteration, {"pool2": blob(iteration), "label": label, "soft": weights})


def pair(open_end: OpenEnd, dtype: str, **settings: bool) -> tuple[FileChannel, FileChannel]:
    """net1 and net2."""
    one, two = (
        open_end(piece, dtype_up=dtype, exact=("soft",), **settings) for piece in ("net1", "net2")
    )
    return one, two


@pytest.mark.parametrize(("dtype", "part"), [("float16", 2), ("bfloat16", 2), ("int8", 4)])
def test_the_blob_comes_rounded_and_the_labels_exact(
    open_end: OpenEnd, dtype: str, part: int
) -> None:
    net1, net2 = pair(open_end, dtype)
    net1.send(up(0))
    got = net2.receive("up", 0).arrays
    assert list(got) == ["pool2", "label", "soft"]
    np.testing.assert_array_equal(got["label"], up(0).arrays["label"])
    np.testing.assert_array_equal(got["soft"], up(0).arrays["soft"])
    expected = decode(encode("pool2", blob(0), dtype))["pool2"]
    np.testing.assert_array_equal(got["pool2"], expected)
    assert not np.array_equal(got["pool2"], blob(0))
    for counters, sent in ((net1.counters, True), (net2.counters, False)):
        actual = counters.bytes_sent if sent else counters.bytes_received
        saved = counters.saved_sent if sent else counters.saved_received
        assert actual + saved == up(0).nbytes
        assert actual < blob(0).nbytes / part + 100


def test_the_other_way_tests_and_weights_are_exact(open_end: OpenEnd) -> None:
    net1, net2 = pair(open_end, "int8")
    for kind in ("test00000", "tie", "upper"):
        net1.send(up(1, kind))
        np.testing.assert_array_equal(net2.receive(kind, 1).arrays["pool2"], blob(1))
    net2.send(Message("down", 0, {"conv3p": blob(2)}))
    np.testing.assert_array_equal(net1.receive("down", 0).arrays["conv3p"], blob(2))
    # Where iter_size makes several batches of an iteration, each has a number.
    net1.send(up(0, "up-00001"))
    assert not np.array_equal(net2.receive("up-00001", 0).arrays["pool2"], blob(0))


def test_numpy_reads_what_travels(open_end: OpenEnd, run_dir: Path) -> None:
    net1, _ = pair(open_end, "float16")
    net1.send(up(0))
    (path,) = (run_dir / "exchange/net1-net2").glob("*pool2~float16*.npy")
    assert np.load(path).dtype == np.float16


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "int8"])
def test_error_feedback_makes_the_sum_right(open_end: OpenEnd, dtype: str) -> None:
    """What has come after K messages is what was sent, but for one message's rounding."""
    net1, net2 = pair(open_end, dtype, error_feedback=True)
    constant = Message("up", 0, {"pool2": blob(0) * np.float32(1 / 3)})
    total = np.zeros_like(blob(0), dtype=np.float64)
    for iteration in range(50):
        net1.send(Message("up", iteration, constant.arrays))
        total += net2.receive("up", iteration).arrays["pool2"]
    sent = 50 * constant.arrays["pool2"].astype(np.float64)
    once = np.abs(decode(encode("x", constant.arrays["pool2"], dtype))["x"] - sent / 50).max()
    assert np.abs(total - sent).max() < 2 * once + 1e-4
    without = 50 * decode(encode("x", constant.arrays["pool2"], dtype))["x"].astype(np.float64)
    assert np.abs(without - sent).max() > 10 * np.abs(total - sent).max()


def test_a_restart_with_the_state_sends_the_same_bytes(open_end: OpenEnd) -> None:
    """The replay is compared with what was sent: another residual would be a violation."""
    net1 = open_end("net1", dtype_up="int8", error_feedback=True)
    for iteration in range(3):
        net1.send(up(iteration))
    state = {name: np.array(values) for name, values in net1.state().items()}
    for iteration in range(3, 6):
        net1.send(up(iteration))
    net1.membership.close("failed: killed")

    again = open_end("net1", dtype_up="int8", error_feedback=True)
    again.restore(state)
    again.resume(3, 0)
    for iteration in range(3, 6):
        again.send(up(iteration))
    assert again.counters.replays_verified == 3


def test_without_feedback_there_is_no_state(open_end: OpenEnd) -> None:
    net1, _ = pair(open_end, "int8")
    net1.send(up(0))
    assert net1.state() == {}


def test_another_shape_begins_without_a_residual(open_end: OpenEnd) -> None:
    net1, net2 = pair(open_end, "int8", error_feedback=True)
    for size in (4, 2, 4):
        values = blob(size, size, 3)
        net1.send(Message("up", 0, {"pool2": values}))
        expected = decode(encode("x", values, "int8"))["x"]
        np.testing.assert_array_equal(net2.receive("up", 0).arrays["pool2"], expected)


def test_what_is_not_finite_does_not_stay(open_end: OpenEnd) -> None:
    net1, net2 = pair(open_end, "bfloat16", error_feedback=True)
    values = blob(0)
    values[0, 0, 0, 0] = np.nan
    net1.send(Message("up", 0, {"pool2": values}))
    assert np.isnan(net2.receive("up", 0).arrays["pool2"]).sum() == 1
    net1.send(Message("up", 1, {"pool2": blob(1)}))
    assert np.isfinite(net2.receive("up", 1).arrays["pool2"]).all()


def test_what_could_not_be_sent_leaves_the_residuals(open_end: OpenEnd) -> None:
    """It may be sent again, and must then be the same."""
    net1 = open_end("net1", dtype_up="int8", error_feedback=True, max_message_bytes=300)
    net1.send(Message("up", 0, {"pool2": blob(0, 2, 3)}))
    before = {name: np.array(values) for name, values in net1.state().items()}
    with pytest.raises(UsageError, match="max_message_bytes"):
        net1.send(Message("up", 1, {"pool2": blob(1, 40, 30)}))
    assert before.keys() == net1.state().keys()
    np.testing.assert_array_equal(net1.state()["up/pool2"], before["up/pool2"])


def test_what_is_refused(open_end: OpenEnd) -> None:
    net1, net2 = pair(open_end, "float16")
    with pytest.raises(ConfigError, match="float8"):
        Codec({"up": "float8"})
    net1.send(Message("tie", 0, {"w~int8": np.ones((2, 2), np.int8)}))
    with pytest.raises(DamagedMessage, match="not encoded as this program does"):
        net2.receive("tie", 0)
