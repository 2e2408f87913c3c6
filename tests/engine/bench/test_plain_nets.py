"""The nets written by hand in PyTorch are the nets that the engine trains."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from dualnet.engine.bench import nets, plain
from dualnet.engine.formats import prototxt
from dualnet.engine.net.net import Net
from dualnet.engine.proto import caffe_pb2

SMALL_IMAGE_PX = 67  # the least that CaffeNet takes


def build(name, monkeypatch, repository):
    """The engine's net and the plain one, with the same weights and a batch for both."""
    monkeypatch.chdir(repository)
    if name == "cifar10":
        message, module = nets.cifar10(4), plain.cifar10()
    else:
        message = nets.caffenet(4, SMALL_IMAGE_PX, classes=7)
        module = plain.caffenet(SMALL_IMAGE_PX, classes=7)
    # In TEST dropout is the identity, so that both sides compute the same.
    message.state.phase = caffe_pb2.TEST
    module.eval()
    net = Net.from_message(message)
    with torch.no_grad():
        for layer, blobs in net.params.items():
            for blob, values in zip(blobs, module.get_submodule(layer).parameters()):
                # Weights of a size at which every layer's output has a part in the loss.
                scale = 0.05 if values.ndim > 1 else 0.5
                blob.data[...] = np.random.randn(*blob.shape) * scale
                values.copy_(torch.from_numpy(blob.data))
    net.blobs["data"].data[...] = np.random.uniform(-1, 1, net.blobs["data"].shape)
    net.blobs["label"].data[...] = [0, 3, 6, 1]
    return net, module


@pytest.mark.parametrize("name", ["cifar10", "caffenet"])
def test_losses_and_gradients_are_equal(name, monkeypatch, repository):
    net, module = build(name, monkeypatch, repository)
    loss = net.forward()["loss"]
    net.backward()
    images = torch.from_numpy(net.blobs["data"].data.copy())
    expected = functional.cross_entropy(
        module(images.contiguous(memory_format=torch.channels_last)),
        torch.from_numpy(net.blobs["label"].data).long(),
    )
    expected.backward()
    np.testing.assert_allclose(loss, expected.item(), rtol=1e-5)
    compared = 0
    for layer, blobs in net.params.items():
        for blob, values in zip(blobs, module.get_submodule(layer).parameters()):
            wanted = values.grad.numpy()
            np.testing.assert_allclose(
                blob.diff, wanted, rtol=1e-4, atol=1e-5 * np.abs(wanted).max(), err_msg=layer
            )
            compared += blob.count
    assert compared == sum(values.numel() for values in module.parameters())


def test_caffenet_has_the_reference_models_parameters():
    shapes = [tuple(p.shape) for p in plain.caffenet().parameters()]
    assert shapes[0] == (96, 3, 11, 11) and (4096, 9216) in shapes
    assert sum(int(np.prod(shape)) for shape in shapes) == 60_965_224


def test_cifar10_is_the_shipped_net_with_inputs(monkeypatch, repository):
    monkeypatch.chdir(repository)
    shipped = prototxt.read_net(nets.CIFAR10_PROTOTXT)
    built = nets.cifar10(256)
    wanted = [p for p in shipped.layer if p.type not in ("Data", "Accuracy")]
    assert list(built.layer)[2:] == wanted
    assert [p.type for p in built.layer][:2] == ["Input", "Input"]
    assert list(built.layer[0].input_param.shape[0].dim) == [256, 3, 32, 32]


def test_build_is_channels_last():
    weight = plain.build("cifar10").conv2.weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert not weight.is_contiguous()
