"""RNN, LSTM and LSTMUnit against loops in NumPy, PyTorch's own cells, and numerical gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dualnet.engine.errors import GraphError, PrototxtError, ShapeError
from dualnet.engine.net.net import Net
from dualnet.engine.proto import caffe_pb2
from tests.engine.gradient_check import check_gradients
from tests.engine.harness import make_layer

FILL = 'weight_filler { type: "gaussian" std: 0.5 } bias_filler { type: "gaussian" }'
T, N, H = 4, 2, 3
CONT = np.array([[0, 0], [1, 1], [1, 0], [1, 1]], np.float32)


def normal(*shape):
    return np.random.randn(*shape).astype(np.float32)


def layer(kind, *arrays, settings="", tops=1, **more):
    text = f'type: "{kind}" recurrent_param {{ num_output: {H} {FILL} {settings} }}'
    return make_layer(text, *arrays, tops=tops, **more)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def by_hand(kind, blobs, x, cont, static=None, states=None):
    """All outputs and the last states, in float64, from the definitions."""
    blobs = [b.data.astype(np.float64) for b in blobs]
    w_x, b = blobs[:2]
    offset = 0 if static is None else static.reshape(N, -1) @ blobs[2].T
    rest = blobs[2 if static is None else 3 :]
    states = [np.zeros((N, H))] * 2 if states is None else [s.reshape(N, H) for s in states]
    outputs = []
    for x_t, c_t in zip(x.reshape(T, N, -1), cont):
        kept = states[0] * c_t[:, None]
        gates = x_t @ w_x.T + b + offset + kept @ rest[0].T
        if kind == "RNN":
            states = [np.tanh(gates)]
            outputs.append(np.tanh(states[0] @ rest[1].T + rest[2]))
        else:
            i, f, o, g = np.split(gates, 4, axis=1)
            c = c_t[:, None] * sigmoid(f) * states[1] + sigmoid(i) * np.tanh(g)
            states = [sigmoid(o) * np.tanh(c), c]
            outputs.append(states[0])
    return np.stack(outputs), states


SHAPES = {
    ("RNN", False): [(3, 5), (3,), (3, 3), (3, 3), (3,)],
    ("RNN", True): [(3, 5), (3,), (3, 4), (3, 3), (3, 3), (3,)],
    ("LSTM", False): [(12, 5), (12,), (12, 3)],
    ("LSTM", True): [(12, 5), (12,), (12, 4), (12, 3)],
}
NAMES = {
    ("RNN", False): ("W_xh", "b_h", "W_hh", "W_ho", "b_o"),
    ("RNN", True): ("W_xh", "b_h", "W_xh_static", "W_hh", "W_ho", "b_o"),
    ("LSTM", False): ("W_xc", "b_c", "W_hc"),
    ("LSTM", True): ("W_xc", "b_c", "W_xc_static", "W_hc"),
}


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("kind", ["RNN", "LSTM"])
def test_values_and_gradients(kind, static):
    x, extra = normal(T, N, 5), [normal(N, 2, 2)] if static else []
    rig = layer(kind, x, CONT, *extra)
    assert [blob.dims for blob in rig.layer.blobs] == SHAPES[kind, static]
    assert rig.layer.param_names == NAMES[kind, static]
    expected, _ = by_hand(kind, rig.layer.blobs, x, CONT, *extra)
    np.testing.assert_allclose(rig.forward()[0], expected, rtol=1e-5, atol=1e-6)
    check_gradients(rig, bottoms=[0, 2] if static else [0])


@pytest.mark.parametrize("phase", [caffe_pb2.TRAIN, caffe_pb2.TEST])
@pytest.mark.parametrize("kind", ["RNN", "LSTM"])
def test_the_state_goes_on_in_the_next_pass(kind, phase):
    x, cont = normal(T, N, 5), np.ones((T, N), np.float32)
    rig = layer(kind, x, cont, phase=phase)
    first, last = by_hand(kind, rig.layer.blobs, x, cont)
    np.testing.assert_allclose(rig.forward()[0], first, rtol=1e-5, atol=1e-6)
    second, _ = by_hand(kind, rig.layer.blobs, x, cont, states=last)
    np.testing.assert_allclose(rig.forward()[0], second, rtol=1e-5, atol=1e-6)
    rig.bottom[1].data[0] = 0
    np.testing.assert_allclose(
        rig.forward()[0], by_hand(kind, rig.layer.blobs, x, rig.bottom[1].data)[0],
        rtol=1e-5, atol=1e-6,
    )  # fmt: skip


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize(("kind", "states"), [("RNN", 1), ("LSTM", 2)])
def test_exposed_states(kind, states, static):
    x, cont = normal(T, N, 5), np.ones((T, N), np.float32)
    extra = [normal(N, 4)] if static else []
    first = [normal(1, N, H) for _ in range(states)]
    rig = layer(
        kind, x, cont, *extra, *first, settings="expose_hidden: true", tops=1 + states
    )  # fmt: skip
    expected, last = by_hand(kind, rig.layer.blobs, x, cont, *extra or [None], states=first)
    for _ in range(2):  # the bottoms say where each pass begins, not the pass before
        output, *found = rig.forward()
        np.testing.assert_allclose(output, expected, rtol=1e-5, atol=1e-6)
        for value, wanted in zip(found, last):
            assert value.shape == (1, N, H)
            np.testing.assert_allclose(value[0], wanted, rtol=1e-5, atol=1e-6)


def test_gradients_end_at_the_batch_as_in_caffe():
    x, cont = normal(T, N, 5), np.ones((T, N), np.float32)
    h = normal(1, N, H)
    rig = layer("RNN", x, cont, h, settings="expose_hidden: true", tops=2)
    rig.forward()
    down, g = [True, False, True], normal(T, N, H)
    rig.bottom[2].diff[...] = 9
    without = rig.backward(g, np.zeros((1, N, H)), down=down)
    with_last = rig.backward(g, np.ones((1, N, H)), down=down)
    np.testing.assert_array_equal(without[0], with_last[0])
    assert without[0].any() and not without[2].any()


def test_lstm_agrees_with_torch():
    x, cont = normal(T, N, 5), np.ones((T, N), np.float32)
    rig = layer("LSTM", x, cont)
    w_x, b, w_h = (torch.tensor(blob.data) for blob in rig.layer.blobs)
    theirs = torch.nn.LSTM(5, H)
    # torch's gates are in the order i, f, g, o
    order = torch.cat([torch.arange(6), torch.arange(9, 12), torch.arange(6, 9)])
    weights = [w_x[order], w_h[order], b[order], torch.zeros(12)]
    with torch.no_grad():
        for own, value in zip(theirs.parameters(), weights):
            own.copy_(value)
    source = torch.tensor(x, requires_grad=True)
    output, _ = theirs(source)
    g = normal(T, N, H)
    output.backward(torch.tensor(g))
    np.testing.assert_allclose(rig.forward()[0], output.detach(), rtol=1e-5, atol=1e-6)
    ours = rig.backward(g, down=[True, False])
    np.testing.assert_allclose(ours[0], source.grad, rtol=1e-5, atol=1e-6)
    grads = [blob.diff for blob in rig.layer.blobs]
    for mine, own in zip((grads[0], grads[2], grads[1]), theirs.parameters()):
        np.testing.assert_allclose(mine[order], own.grad, rtol=1e-5, atol=1e-5)


def test_the_number_of_streams_may_change():
    rig = layer("LSTM", normal(T, N, 5), CONT)
    rig.forward()
    rig.bottom[0].reshape(T, 3, 5)
    rig.bottom[1].reshape(T, 3)
    rig.bottom[0].data[...] = normal(T, 3, 5)
    rig.bottom[1].data[...] = 1
    wide = rig.forward()[0]
    assert wide.shape == (T, 3, H) and np.isfinite(wide).all()
    assert rig.backward(normal(T, 3, H), down=[True, False])[0].any()


def test_gradients_of_parameters_accumulate():
    rig = layer("RNN", normal(T, N, 5), CONT)
    rig.forward()
    g = normal(T, N, H)
    rig.backward(g, down=[False, False])
    once = [blob.diff.copy() for blob in rig.layer.blobs]
    rig.backward(g, down=[False, False])
    for blob, one in zip(rig.layer.blobs, once):
        np.testing.assert_allclose(blob.diff, 2 * one, rtol=1e-5, atol=1e-6)


def test_lstm_unit():
    c, gates = normal(1, N, H), normal(1, N, 4 * H)
    cont = np.array([[1, 0]], np.float32)
    rig = make_layer('type: "LSTMUnit"', c, gates, cont, tops=2)
    i, f, o, g = np.split(gates.astype(np.float64), 4, axis=2)
    memory = cont[..., None] * sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    new_c, h = rig.forward()
    np.testing.assert_allclose(new_c, memory, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(h, sigmoid(o) * np.tanh(memory), rtol=1e-5, atol=1e-6)
    check_gradients(rig, bottoms=[0, 1])
    with pytest.raises(GraphError, match="sequence indicators"):
        rig.backward(h, h)


@pytest.mark.parametrize(
    ("shapes", "tops", "settings", "error", "message"),
    [
        ([(T, N), (T, N)], 1, "", ShapeError, r"at least 3 axes.*\(4, 2\)"),
        ([(T, N, 5), (T, N, 1)], 1, "", ShapeError, r"exactly 2 axes.*\(4, 2\).*\(4, 2, 1\)"),
        ([(T, N, 5), (N, T)], 1, "", ShapeError, r"\(4, 2\), it has shape \(2, 4\)"),
        ([(T, N, 5), (T, N), (3, 4)], 1, "", ShapeError, r"\(2, values\.\.\.\).*\(3, 4\)"),
        ([(T, N, 5), (T, N), (N,)], 1, "", ShapeError, r"static input.*it has \(2,\)"),
        ([(T, N, 5), (T, N)], 1, "expose_hidden: true", GraphError, "2 bottoms and 1 tops.*h_0"),
        ([(T, N, 5), (T, N)], 2, "", GraphError, "2 bottoms and 2 tops, it takes 2 or 3 bottoms"),
        (
            [(T, N, 5), (T, N), (1, N, 4)], 2, "expose_hidden: true", ShapeError,
            r"bottom 2 \(h_0\) must have shape \(1, 2, 3\), it has \(1, 2, 4\)",
        ),
    ],
)  # fmt: skip
def test_errors_at_setup(shapes, tops, settings, error, message):
    with pytest.raises(error, match=message) as caught:
        layer("RNN", *(np.zeros(s, np.float32) for s in shapes), tops=tops, settings=settings)
    assert "layer 'layer' (RNN)" in str(caught.value) and "\n" not in str(caught.value)


def test_num_output_is_needed():
    with pytest.raises(PrototxtError, match=r"layer 'layer' \(LSTM\).*num_output above 0"):
        make_layer('type: "LSTM"', normal(T, N, 5), CONT)


@pytest.mark.parametrize(
    ("shape", "message"),
    [((T + 1, N, 5), r"fixed to 4.*\(5, 2, 5\)"), ((T, N, 6), "6 values a stream.*need 5")],
)
def test_errors_of_later_shapes(shape, message):
    rig = layer("RNN", normal(T, N, 5), CONT)
    rig.bottom[0].reshape(*shape)
    rig.bottom[1].reshape(*shape[:2])
    with pytest.raises(ShapeError, match=message):
        rig.forward()


def test_errors_of_the_backward_pass():
    rig = layer("RNN", normal(T, N, 5), CONT)
    with pytest.raises(GraphError, match="call forward first"):
        rig.backward(normal(T, N, H), down=[True, False])
    rig.forward()
    with pytest.raises(GraphError, match=r"sequence indicators \(bottom 1\)"):
        rig.backward(normal(T, N, H))


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([(2, N, H), (2, N, 4 * H), (2, N)], r"\(1, streams, values\), it has \(2, 2, 3\)"),
        ([(1, N, H), (1, N, 3 * H), (1, N)], r"bottom 1 must have shape \(1, 2, 12\)"),
        ([(1, N, H), (1, N, 4 * H), (1, N, 1)], r"bottom 2 must have shape \(1, 2\)"),
    ],
)
def test_errors_of_the_unit(shapes, message):
    with pytest.raises(ShapeError, match=message):
        make_layer('type: "LSTMUnit"', *(np.zeros(s, np.float32) for s in shapes), tops=2)


def test_weights_survive_saving(tmp_path):
    text = (
        'layer { name: "x" type: "Input" top: "x" top: "cont" input_param { '
        "shape { dim: 4 dim: 2 dim: 5 } shape { dim: 4 dim: 2 } } }\n"
        'layer { name: "lstm" type: "LSTM" bottom: "x" bottom: "cont" top: "y" '
        f"recurrent_param {{ num_output: 3 {FILL} }} }}"
    )
    (tmp_path / "net.prototxt").write_text(text)
    net, other = (Net(tmp_path / "net.prototxt", caffe_pb2.TEST) for _ in range(2))
    net.save(tmp_path / "net.caffemodel")
    other.copy_from(tmp_path / "net.caffemodel")
    x = normal(T, N, 5)
    for one in (net, other):
        one.blobs["x"].data[...] = x
        one.blobs["cont"].data[...] = CONT
        one.forward()
    np.testing.assert_array_equal(net.blobs["y"].data, other.blobs["y"].data)
    assert net.blobs["y"].data.any()


def test_debug_info_of_the_inner_net_is_not_passed_over_in_silence(capfd):
    text = 'type: "RNN" recurrent_param { num_output: 2 debug_info: true }'
    make_layer(text, np.zeros((3, 1, 2), np.float32), np.ones((3, 1), np.float32))
    assert "layer 'layer' (RNN): recurrent_param.debug_info shows nothing" in capfd.readouterr().err
