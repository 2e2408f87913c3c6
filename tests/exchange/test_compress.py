"""Arrays in fewer bits: error bounds, ties, and numbers that are none."""

from __future__ import annotations

import numpy as np
import pytest

from dualnet.config.exchange import DTYPES
from dualnet.exchange.compress import decode, encode

LOSSY = [dtype for dtype in DTYPES if dtype != "float32"]


def there_and_back(values: np.ndarray, dtype: str) -> np.ndarray:
    """What the other piece gets."""
    array = np.asarray(values, np.float32)
    (name,) = decoded = decode(encode("x", array, dtype))
    assert name == "x"
    assert decoded[name].dtype == np.float32 and decoded[name].shape == array.shape
    return decoded[name]


def spread(*shape: int) -> np.ndarray:
    """Values of many sizes and both signs, as gradients have."""
    random = np.random.RandomState(7)
    return (random.randn(*shape) * 10.0 ** random.uniform(-6, 4, shape)).astype(np.float32)


def test_float32_is_left_alone() -> None:
    array = spread(3, 4)
    assert encode("x", array, "float32")["x"] is array
    assert decode({"x": array})["x"] is array


def test_float16_keeps_eleven_bits_whatever_the_size() -> None:
    for factor in (1e-30, 1e-6, 1.0, 1e8, 1e34):
        values = spread(40, 5, 6, 7) * np.float32(factor)
        error = np.abs(there_and_back(values, "float16").astype(float) - values)
        bound = np.maximum(np.abs(values) * 2.0**-11, np.abs(values).max() * 2.0**-39)
        assert (error <= bound).all()
        assert error.max() > 0


def test_float16_of_numbers_that_it_holds_is_exact() -> None:
    values = np.arange(-2048, 2049, dtype=np.float32).reshape(17, 241)
    np.testing.assert_array_equal(there_and_back(values, "float16"), values)
    np.testing.assert_array_equal(there_and_back(values * 2.0**40, "float16"), values * 2.0**40)


def test_bfloat16_against_exact_arithmetic() -> None:
    """Every value lies between two of 8 bits; the nearer one is taken, of equals the even one."""
    values = spread(70_000).reshape(700, 100)
    mantissa, exponent = np.frexp(values.astype(float))
    expected = np.ldexp(np.rint(np.ldexp(mantissa, 8)), exponent - 8)  # rint: ties to even
    np.testing.assert_array_equal(there_and_back(values, "bfloat16"), expected)
    ties = np.array([[1 + 2.0**-8, 1 + 3 * 2.0**-8, -1 - 2.0**-8]])
    np.testing.assert_array_equal(there_and_back(ties, "bfloat16"), [[1, 1 + 2 * 2.0**-7, -1]])


def test_bfloat16_of_extremes() -> None:
    huge, tiny = np.finfo(np.float32).max, np.float32(1e-45)
    got = there_and_back(np.array([[huge, -huge, tiny, 0.0, -0.0]]), "bfloat16")
    np.testing.assert_array_equal(got, [[np.inf, -np.inf, 0, 0, 0]])
    np.testing.assert_array_equal(np.signbit(got), [[False, True, False, False, True]])


def test_int8_is_half_a_step_off_at_most() -> None:
    values = spread(16, 5, 3, 3) * np.array([1e-9, 1, 1e9, 0, 1e30], np.float32)[:, None, None]
    got = there_and_back(values, "int8")
    top = np.abs(values).max(axis=(0, 2, 3), keepdims=True)
    assert (np.abs(got.astype(float) - values) <= top / 254 * (1 + 1e-4)).all()
    assert np.abs(got).max(axis=(0, 2, 3)) == pytest.approx(top.ravel(), rel=1e-6)
    assert (got[:, 3] == 0).all()


def test_int8_sends_a_quarter_and_the_scales() -> None:
    encoded = encode("pool2", spread(16, 5, 3, 3), "int8")
    assert {name: array.nbytes for name, array in encoded.items()} == {
        "pool2~int8": 16 * 5 * 9,
        "pool2~scale": 5 * 4,
    }
    assert encoded["pool2~int8"].min() >= -127


@pytest.mark.parametrize("dtype", LOSSY)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_not_hidden(dtype: str, bad: float) -> None:
    values = spread(4, 3, 2, 2)
    values[1, 2, 0, 1] = bad
    got = there_and_back(values, dtype)
    if dtype == "int8":
        assert np.isnan(got[:, 2]).all()
    else:
        np.testing.assert_array_equal(got[1, 2, 0, 1], bad)
    np.testing.assert_allclose(
        got[:, :2], values[:, :2], rtol=0.01, atol=np.abs(values[:, :2]).max() / 250
    )


@pytest.mark.parametrize("bits", [0x7F800001, 0xFFFFFFFF, 0x7FFFFFFF, 0xFF800001])
def test_bfloat16_keeps_every_nan(bits: int) -> None:
    values = np.array([[bits]], np.uint32).view(np.float32)
    assert np.isnan(there_and_back(values, "bfloat16")).all()


@pytest.mark.parametrize("dtype", LOSSY)
@pytest.mark.parametrize("shape", [(0, 3), (3, 0, 2, 2), (1, 1), (5,), (), (2, 3, 4, 5, 6)])
def test_shapes(dtype: str, shape: tuple[int, ...]) -> None:
    values = np.full(shape, 3.0, np.float32)
    np.testing.assert_allclose(there_and_back(values, dtype), values, rtol=1e-6)


@pytest.mark.parametrize("dtype", LOSSY)
def test_memory_in_any_order(dtype: str) -> None:
    values = spread(4, 6, 5).transpose(2, 1, 0)
    np.testing.assert_array_equal(
        there_and_back(values, dtype), there_and_back(np.ascontiguousarray(values), dtype)
    )


@pytest.mark.parametrize("dtype", LOSSY)
def test_large_arrays_are_worked_on_in_pieces_that_fit_together(dtype: str) -> None:
    values = spread(64, 8, 32, 32)
    got = there_and_back(values, dtype)
    apart = np.concatenate([there_and_back(values[:, c : c + 1], dtype) for c in range(8)], axis=1)
    if dtype == "float16":  # one power of two for all: only small values may differ
        np.testing.assert_allclose(got, apart, rtol=2**-10, atol=np.abs(values).max() * 2.0**-38)
    else:
        np.testing.assert_array_equal(got, apart)


def test_what_is_not_encoded_so_is_refused() -> None:
    ones = np.ones((2, 3), np.float32)
    for arrays in (
        {"x~int8": np.ones((2, 3), np.int8)},
        {"x~int8": np.ones((2, 3), np.int8), "x~scale": np.ones(2, np.float32)},
        {"x~float16": ones, "x~scale": np.ones(1, np.float32)},
        {"x~bfloat16": ones},
        {"x~float8": ones},
    ):
        with pytest.raises((KeyError, ValueError)):
            decode(arrays)
