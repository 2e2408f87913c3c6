"""Blobs and their memory: rebinding, live views, sharing, memory orders."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
import torch

from dualnet.engine.core.blob import Blob, BlobVec
from dualnet.engine.errors import ShapeError


def images(*shape):
    return torch.randn(*shape).contiguous(memory_format=torch.channels_last)


def test_results_are_bound_without_copying():
    blob, values = Blob((2, 3, 4, 4)), images(2, 3, 4, 4)
    blob.set_data(values)
    assert blob.data_tensor.data_ptr() == values.data_ptr()
    assert blob.data_tensor.is_contiguous(memory_format=torch.channels_last)


def test_array_and_tensor_are_one_memory():
    blob = Blob((2, 3, 4, 4))
    values = images(2, 3, 4, 4)
    blob.set_data(values)
    array = blob.data
    assert array.flags.c_contiguous and array.flags.writeable
    np.testing.assert_array_equal(array, values.numpy())
    array[1, 2, 3, 3] = 7
    assert blob.data_tensor[1, 2, 3, 3] == 7
    blob.data_tensor[0, 0, 0, 0] = 5
    assert array[0, 0, 0, 0] == 5


@pytest.mark.parametrize("derive", [lambda a: a, lambda a: a[1:], lambda a: a.reshape(-1)[3:]])
def test_held_views_stay_live_in_both_directions(derive):
    blob = Blob((2, 3, 4, 4))
    view = derive(blob.data)
    gc.collect()
    for _ in range(2):
        values = images(2, 3, 4, 4)
        blob.set_data(values)
        np.testing.assert_array_equal(view, derive(values.contiguous().numpy()))
        view[...] = 3
        assert (derive(blob.data_tensor.numpy()) == 3).all()


def test_after_the_view_is_gone_results_are_bound_again():
    blob = Blob((2, 2))
    view = blob.data
    first = torch.ones(2, 2)
    blob.set_data(first)
    assert blob.data_tensor.data_ptr() != first.data_ptr()
    del view
    second = torch.ones(2, 2)
    blob.set_data(second)
    assert blob.data_tensor.data_ptr() == second.data_ptr()


def test_gradients_accumulate_and_clearing_is_lazy():
    blob = Blob((3,))
    g = torch.tensor([1.0, 2.0, 3.0])
    blob.add_diff(g)
    assert blob.diff_tensor.data_ptr() == g.data_ptr()
    blob.add_diff(torch.ones(3))
    np.testing.assert_array_equal(blob.diff, [2, 3, 4])
    blob.clear_diff()
    np.testing.assert_array_equal(blob.diff, [0, 0, 0])
    view = blob.diff
    blob.add_diff(torch.ones(3))
    np.testing.assert_array_equal(view, [1, 1, 1])
    blob.clear_diff()
    np.testing.assert_array_equal(view, [0, 0, 0])


def test_sharing_is_mutual():
    a, b = Blob((2, 6)), Blob((3, 4))
    b.share_data(a)
    a.set_data(torch.arange(12.0).view(2, 6))
    np.testing.assert_array_equal(b.data, np.arange(12.0).reshape(3, 4))
    b.data[0, 1] = 9
    assert a.data_tensor[0, 1] == 9


def test_flattening_a_channels_last_result_keeps_caffes_order():
    blob, flat = Blob((2, 3, 4, 5)), Blob((2, 60))
    values = images(2, 3, 4, 5)
    blob.set_data(values)
    flat.share_data(blob)
    np.testing.assert_array_equal(flat.data, values.numpy().reshape(2, 60))


def test_reshape_keeps_the_values_that_fit():
    blob = Blob((4, 2))
    blob.data[...] = np.arange(8).reshape(4, 2)
    blob.reshape(2, 2)
    np.testing.assert_array_equal(blob.data, [[0, 1], [2, 3]])
    blob.data[...] = 7
    blob.reshape(4, 2)
    np.testing.assert_array_equal(blob.data, [[7, 7], [7, 7], [4, 5], [6, 7]])
    blob.reshape(5, 2)
    assert not blob.data.any()


def test_relayout_leaves_held_arrays_alone():
    blob = Blob((2, 3, 4, 4))
    view = blob.data
    view[...] = np.random.randn(*view.shape)
    converted = blob.data_in(torch.channels_last)
    assert converted.is_contiguous(memory_format=torch.channels_last)
    view[0, 0, 0, 0] = 11
    assert blob.data_tensor[0, 0, 0, 0] == 11
    del view
    blob.data_in(torch.channels_last)
    assert blob.data_tensor.is_contiguous(memory_format=torch.channels_last)


def test_an_alias_follows_its_owner_even_after_relayout():
    owner = np.zeros((2, 3, 4, 4), np.float32)
    blob = Blob((2, 3, 4, 4))
    blob.alias_data(torch.from_numpy(owner))
    blob.data_in(torch.channels_last)
    owner[...] = 4
    assert (blob.data_tensor == 4).all()
    held = blob.data
    blob.alias_data(torch.ones(2, 3, 4, 4))
    assert (held == 4).all() and (owner == 4).all()


def test_taken_values_survive_the_next_result():
    blob = Blob((3,))
    blob.set_data(torch.ones(3))
    taken = blob.detach_data()
    blob.set_data(torch.zeros(3))
    assert (taken == 1).all()
    view = blob.data
    taken = blob.detach_data()
    blob.set_data(torch.full((3,), 5.0))
    assert (taken == 0).all() and (view == 5).all()


def test_legacy_dimensions_and_shape():
    blob = Blob((2, 3))
    assert (blob.num, blob.channels, blob.height, blob.width, blob.count) == (2, 3, 1, 1, 6)
    assert list(blob.shape) == [2, 3] and blob.shape[1] == 3
    blob.reshape(1, 2, 3, 4, 5)
    with pytest.raises(ShapeError, match="at most 4 axes"):
        blob.num  # noqa: B018
    scalar = BlobVec().add_blob()
    assert scalar.data.shape == () and scalar.count == 1


def test_impossible_shapes_are_refused():
    blob = Blob((2,))
    with pytest.raises(ShapeError, match=r"\(-1, 2\)"):
        blob.reshape(-1, 2)
    with pytest.raises(ShapeError, match=r"\(3,\) does not fit.*\(2,\)"):
        blob.set_data(torch.zeros(3))
    with pytest.raises(AttributeError):
        blob.data = np.zeros(2)


def test_views_outlive_the_blob():
    view = Blob((3,)).data
    gc.collect()
    view[...] = 2
    np.testing.assert_array_equal(view, [2, 2, 2])


def test_reading_leaves_the_order_and_shares_nothing_that_stays():
    blob, values = Blob((2, 3, 4, 4)), images(2, 3, 4, 4)
    blob.set_data(values)
    read = blob.read_data()
    assert read.flags.c_contiguous and read.dtype == np.float32
    np.testing.assert_array_equal(read, values.numpy())
    assert blob.data_tensor.data_ptr() == values.data_ptr()  # still channels-last
    blob.set_data(images(2, 3, 4, 4))
    assert not np.array_equal(read, blob.read_data())


def test_writing_keeps_the_order():
    blob, values = Blob((2, 3, 4, 4)), images(2, 3, 4, 4)
    blob.set_diff(values)
    given = np.random.RandomState(1).rand(2, 3, 4, 4).astype(np.float32)
    given.setflags(write=False)  # as a message may be
    blob.write_diff(given)
    np.testing.assert_array_equal(blob.diff_tensor.numpy(), given)
    assert blob.diff_tensor.data_ptr() == values.data_ptr()


def test_writing_reaches_live_views_and_borrowed_memory():
    given = np.full((2, 3), 7, np.float32)
    blob = Blob((2, 3))
    view = blob.data
    blob.write_data(given)
    assert (view == 7).all()
    lent, other = torch.zeros(2, 3), Blob((2, 3))
    other.alias_data(lent)
    other.write_data(given)
    assert (lent == 7).all()


def test_writing_less_than_a_shared_storage_holds():
    large = Blob((2, 3))
    large.data[...] = 1
    small = Blob((3,))
    small.share_data(large)
    small.write_data(np.full(3, 5, np.float32))
    np.testing.assert_array_equal(large.read_data(), [[5, 5, 5], [1, 1, 1]])
    np.testing.assert_array_equal(small.read_data(), [5, 5, 5])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_held_views_on_a_gpu_are_synchronised_at_boundaries():
    from dualnet.engine.core import device
    from dualnet.engine.core.storage import sync_host_arrays

    device.set_mode_gpu()
    try:
        blob = Blob((2, 2))
        view = blob.data
        view[...] = 3
        with sync_host_arrays():
            assert blob.data_tensor.is_cuda and (blob.data_tensor == 3).all()
            blob.set_data(torch.full((2, 2), 4.0, device="cuda"))
        assert (view == 4).all()
        view[0, 0] = 5
        with sync_host_arrays():
            assert blob.data_tensor[0, 0] == 5
        device.set_mode_cpu()
        assert blob.data_tensor[0, 0] == 5
    finally:
        device.set_mode_cpu()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_what_is_read_from_a_gpu_is_not_uploaded_again():
    from dualnet.engine.core import device

    device.set_mode_gpu()
    try:
        blob, given = Blob((2, 3, 4, 4)), np.full((2, 3, 4, 4), 3, np.float32)
        blob.set_data(images(2, 3, 4, 4).cuda())
        before = blob.data_tensor.data_ptr()
        blob.write_data(given)
        np.testing.assert_array_equal(blob.read_data(), given)
        assert blob.data_tensor.is_cuda and blob.data_tensor.data_ptr() == before
    finally:
        device.set_mode_cpu()


def test_drop_frees_the_memory():
    blob, values = Blob((2, 3)), torch.ones(2, 3)
    watched = weakref.ref(values)
    blob.set_data(values)
    del values
    blob.drop_data()
    assert watched() is None
    assert (blob.data == 0).all()


def test_drop_leaves_what_somebody_holds():
    blob = Blob((2, 3))
    blob.set_diff(torch.ones(2, 3))
    held = blob.diff
    blob.drop_diff()
    assert (held == 1).all()
    blob.set_diff(torch.full((2, 3), 2.0))
    assert (held == 2).all()
    callers = torch.ones(2, 3)
    blob.alias_data(callers)
    blob.drop_data()
    assert blob.data_tensor is callers
