"""Products of matrices by either library."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dualnet.engine.core import matrix

#: (M, K, N) that oneDNN multiplies, that have too few rows, and that are too small.
SHAPES = [(16, 2048, 130), (130, 16, 2100), (4, 2000, 600), (3, 4096, 512), (5, 7, 9), (0, 5, 3)]


@pytest.mark.parametrize("onednn", [True, False])
@pytest.mark.parametrize("transposed", [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("shape", SHAPES)
def test_product_is_numpys(monkeypatch, shape, transposed, onednn):
    if not onednn:
        monkeypatch.setattr(matrix, "_linear", None)
    rows, inner, columns = shape
    generator = torch.Generator().manual_seed(3)
    a = torch.randn((inner, rows) if transposed[0] else (rows, inner), generator=generator)
    b = torch.randn((columns, inner) if transposed[1] else (inner, columns), generator=generator)
    bias = torch.randn(columns, generator=generator)
    a, b = a.t() if transposed[0] else a, b.t() if transposed[1] else b
    expected = a.numpy().astype(np.float64) @ b.numpy().astype(np.float64)
    scale = np.abs(expected).max(initial=1)
    for result, shift in ((matrix.product(a, b), 0), (matrix.product(a, b, bias), bias.numpy())):
        assert result.is_contiguous()
        np.testing.assert_allclose(result.numpy(), expected + shift, rtol=0, atol=3e-6 * scale)


def test_onednn_multiplies_what_is_large(monkeypatch):
    calls = []

    def linear(x, weight, bias, *_):
        calls.append(tuple(x.shape))
        return torch.zeros(x.shape[0], weight.shape[0])

    monkeypatch.setattr(matrix, "_linear", linear)
    for rows, inner, columns in SHAPES:
        matrix.product(torch.zeros(rows, inner), torch.zeros(inner, columns))
    assert calls == [(16, 2048), (130, 16), (4, 2000)]


def test_onednn_turned_off_by_the_user_is_not_used(monkeypatch):
    monkeypatch.setattr(matrix, "_linear", lambda *_: pytest.fail("oneDNN was called"))
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    assert not matrix.product(torch.zeros(16, 2048), torch.zeros(2048, 1024)).any()


@pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="this PyTorch is built without oneDNN"
)
def test_this_pytorch_has_the_operator():
    assert matrix._linear is not None
