"""InfogainLoss: the matrix from a file and as a bottom."""

from __future__ import annotations

import numpy as np
import pytest

from dualnet.engine.errors import GraphError, PrototxtError, ShapeError
from dualnet.engine.proto import caffe_pb2
from tests.engine.gradient_check import check_gradients
from tests.engine.harness import make_layer

H = np.array([[1, 0.2, 0], [0.5, 2, 0.1], [0, 0.3, 0.7]], np.float32)


def log_softmax(x, axis):
    x = x.astype(float) - x.max(axis=axis, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=axis, keepdims=True))


def save(path, matrix):
    blob = caffe_pb2.BlobProto(data=matrix.ravel().tolist())
    blob.shape.dim.extend((1, 1, *matrix.shape))
    path.write_bytes(blob.SerializeToString())
    return f'infogain_loss_param {{ source: "{path}" }}'


@pytest.mark.parametrize(
    ("loss_param", "divisor"),
    [
        ("", 12),
        ("normalization: FULL", 12),
        ("normalization: BATCH_SIZE", 2),
        ("normalization: NONE", 1),
        ("normalize: false", 2),
        ("ignore_label: 1", None),
        ("ignore_label: 1 normalization: FULL", 12),
    ],
)
def test_loss_and_gradient(loss_param, divisor):
    x = np.random.randn(2, 3, 3, 2).astype(np.float32)
    labels = np.arange(12).reshape(2, 1, 3, 2) % 3
    text = f'type: "InfogainLoss" loss_param {{ {loss_param} }}'
    rig = make_layer(text, x, labels.astype(np.float32), H)
    rows = H[labels[:, 0]].transpose(0, 3, 1, 2)
    terms = -rows * log_softmax(x, 1)
    if "ignore" in loss_param:
        terms = terms * (labels != 1)
    divisor = (labels != 1).sum() if divisor is None else divisor
    np.testing.assert_allclose(rig.forward()[0], terms.sum() / divisor, rtol=1e-5)
    check_gradients(rig, bottoms=[0])


def test_the_identity_gives_softmax_loss():
    x, labels = np.random.randn(4, 3).astype(np.float32), np.array([0, 2, 1, 1], np.float32)
    down = [True, False]
    ours = make_layer('type: "InfogainLoss"', x, labels, np.eye(3))
    theirs = make_layer('type: "SoftmaxWithLoss"', x, labels)
    np.testing.assert_allclose(ours.forward()[0], theirs.forward()[0], rtol=1e-6)
    gradients = ours.backward(down=[*down, False])[0], theirs.backward(down=down)[0]
    np.testing.assert_allclose(*gradients, atol=1e-7)


def test_the_file_and_the_bottom_agree(tmp_path):
    x, labels = np.random.randn(2, 4, 3).astype(np.float32), np.random.randint(0, 3, (2, 4))
    text = save(tmp_path / "H", H)
    axis = text.replace("source", "axis: -1 source")
    labels = labels.astype(np.float32)
    file = make_layer(
        'type: "InfogainLoss" loss_weight: 1 loss_weight: 0 ' + axis, x, labels, tops=2
    )
    loss, probability = file.forward()
    bottom = make_layer('type: "InfogainLoss" infogain_loss_param { axis: 2 }', x, labels, H)
    assert loss == bottom.forward()[0]
    np.testing.assert_allclose(probability, np.exp(log_softmax(x, 2)), rtol=1e-5)
    check_gradients(bottom, bottoms=[0])


def test_the_matrix_is_checked(tmp_path):
    x, labels = np.zeros((2, 3), np.float32), np.zeros(2, np.float32)
    with pytest.raises(PrototxtError, match="matrix is missing.*or give it as bottom 2"):
        make_layer('type: "InfogainLoss"', x, labels)
    with pytest.raises(ShapeError, match=r"3 x 3 values, the file '.*H' has 4"):
        make_layer('type: "InfogainLoss" ' + save(tmp_path / "H", np.eye(2)), x, labels)
    with pytest.raises(ShapeError, match=r"3 x 3 values, bottom 2 of shape \(2, 4\) has 8"):
        make_layer('type: "InfogainLoss"', x, labels, np.zeros((2, 4)))
    with pytest.raises(PrototxtError, match="cannot read '.*nowhere'"):
        make_layer(f'type: "InfogainLoss" infogain_loss_param {{ source: "{tmp_path}/nowhere" }}',
                   x, labels)  # fmt: skip
    with pytest.raises(ShapeError, match="need 2 labels"):
        make_layer('type: "InfogainLoss"', x, np.zeros((2, 2)), H)


def test_neither_labels_nor_matrix_learn():
    rig = make_layer('type: "InfogainLoss"', np.zeros((2, 3)), np.zeros(2), H)
    rig.forward()
    for down, what in (([True, True, False], "label inputs"), ([True, False, True], "matrix")):
        with pytest.raises(GraphError, match=f"cannot backpropagate to its .*{what}"):
            rig.backward(down=down)
    assert [rig.layer.allow_force_backward(i) for i in range(3)] == [True, False, False]
