"""Layers that read and write files against BVLC Caffe: the same files, the same blobs.

Nothing random: where a layer draws, there is one choice only. Images and windows must agree exactly
before scaling, resized ones included.
"""
# ruff: noqa: E501 (the nets read better with one part a line)

from __future__ import annotations

import io

import h5py
import lmdb
import numpy as np
import pytest
from PIL import Image

from dualnet.engine.net.net import Net
from dualnet.engine.proto import caffe_pb2
from tests.engine.bvlc.jobs import run_jobs

pytestmark = pytest.mark.bvlc

TRAIN, TEST = caffe_pb2.TRAIN, caffe_pb2.TEST
INPUT = 'layer {{ name: "i" type: "Input" top: "x" top: "l" input_param {{ {} }} }}'
SCORES = INPUT.format("shape { dim: 4 dim: 3 } shape { dim: 4 }")
LOSS = 'bottom: "{}" bottom: "l" top: "loss"'

#: name: (the net's text, its inputs and force_backward apart; phase; forward passes)
NETS = {
    "hdf5": (
        'layer { name: "d" type: "HDF5Data" top: "data" top: "label" top: "plane" '
        'hdf5_data_param { source: "DIR/hdf5" batch_size: 7 } }', TRAIN, 3,
    ),
    "hdf5_one_file": (
        'layer { name: "d" type: "HDF5Data" top: "plane" '
        'hdf5_data_param { source: "DIR/hdf5_one" batch_size: 4 } }', TEST, 2,
    ),
    "hdf5_output": (
        SCORES + 'layer { name: "o" type: "HDF5Output" bottom: "x" bottom: "l" '
        'hdf5_output_param { file_name: "OUT.h5" } }', TEST, 1,
    ),
    "infogain": (
        "force_backward: true " + SCORES + 'layer { name: "l" type: "InfogainLoss" loss_weight: 2 '
        'loss_param { ignore_label: 2 } infogain_loss_param { source: "DIR/H" } '
        + LOSS.format("x") + " }", TRAIN, 1,
    ),
    "multinomial": (
        "force_backward: true " + SCORES + 'layer { name: "p" type: "Softmax" bottom: "x" top: "p" }'
        'layer { name: "l" type: "MultinomialLogisticLoss" loss_weight: 2 ' + LOSS.format("p") + "}",
        TRAIN, 1,
    ),
}  # fmt: skip

IMAGES = {
    "resized": ("new_height: 12 new_width: 20 batch_size: 3", "", TRAIN),
    "halved": ("new_height: 8 new_width: 10 batch_size: 4", "scale: 0.5 mean_value: 7", TEST),
    "enlarged": ("new_height: 33 new_width: 37 batch_size: 4", "", TEST),
    "gray": ("new_height: 9 new_width: 9 batch_size: 4 is_color: false", "", TEST),
    "gray_as_is": ("batch_size: 1 is_color: false", "", TEST),
    "as_is": ("batch_size: 1", "mean_value: 1 mean_value: 2 mean_value: 3", TRAIN),
    "cropped": ("batch_size: 4", "crop_size: 11 scale: 2", TEST),
    "mean": ("batch_size: 2 new_height: 14 new_width: 14", 'crop_size: 9 mean_file: "DIR/mean"', TEST),
}  # fmt: skip
for _name, (_data, _transform, _phase) in IMAGES.items():
    NETS[f"image_{_name}"] = (
        'layer { name: "d" type: "ImageData" top: "data" top: "label" image_data_param { '
        f'source: "DIR/images" root_folder: "DIR/" {_data} }} transform_param {{ {_transform} }} }}',
        _phase, 3,
    )  # fmt: skip

# Databases of 5 images, so that batches wrap around.
DATABASES = {
    "bytes": ("lmdb_bytes", "", TRAIN),
    "scaled": ("lmdb_bytes", "scale: 0.25 mean_value: 3", TEST),
    "mean": ("lmdb_bytes", 'mean_file: "DIR/mean"', TRAIN),
    "cropped": ("lmdb_bytes", 'crop_size: 9 mean_file: "DIR/mean" scale: 2', TEST),
    "floats": ("lmdb_floats", "crop_size: 8", TEST),
    "encoded": ("lmdb_encoded", "mean_value: 1 mean_value: 2 mean_value: 3", TRAIN),
    "encoded_gray": ("lmdb_encoded", "force_gray: true scale: 0.5", TEST),
    "encoded_color": ("lmdb_encoded", "force_color: true", TEST),
    "jpeg": ("lmdb_jpeg", "", TRAIN),
    "jpeg_gray": ("lmdb_jpeg", "force_gray: true", TEST),
    "jpeg_color": ("lmdb_jpeg", "force_color: true", TEST),
    "gray": ("lmdb_gray", "", TEST),
    "gray_color": ("lmdb_gray", "force_color: true", TEST),
    "alpha": ("lmdb_alpha", "", TEST),
    "alpha_color": ("lmdb_alpha", "force_color: true", TEST),
}
for _name, (_source, _transform, _phase) in DATABASES.items():
    NETS[f"data_{_name}"] = (
        'layer { name: "d" type: "Data" top: "data" top: "label" data_param { backend: LMDB '
        f'source: "DIR/{_source}" batch_size: 3 }} transform_param {{ {_transform} }} }}', _phase, 4,
    )  # fmt: skip
NETS["dummy"] = (
    'layer { name: "d" type: "DummyData" top: "a" top: "b" dummy_data_param { shape { dim: 2 dim: 3 } '
    'shape { dim: 4 } data_filler { value: 5 } data_filler { value: -1 } } } '
    'layer { name: "s" type: "Silence" bottom: "a" bottom: "b" }', TEST, 2,
)  # fmt: skip

WINDOWS = {
    "warp": ("", ""),
    "context": ("context_pad: 2 scale: 0.5", "mean_value: 10 scale: 3"),
    "square": ('crop_mode: "square"', "mean_value: 1 mean_value: 2 mean_value: 3"),
    "square_context": ('crop_mode: "square" context_pad: 3 cache_images: true', ""),
    "mean": ("context_pad: 1", 'mean_file: "DIR/mean"'),
}
for _name, (_data, _transform) in WINDOWS.items():
    for _file in ("inside", "border"):
        if _name != "warp" or _file == "inside":
            NETS[f"window_{_name}_{_file}"] = (
                'layer { name: "d" type: "WindowData" top: "data" top: "label" window_data_param { '
                f'source: "DIR/{_file}" root_folder: "DIR/" batch_size: 3 fg_fraction: 0.34 {_data} '
                f"}} transform_param {{ crop_size: 12 {_transform} }} }}", TRAIN, 1,
            )  # fmt: skip


def write_files(folder, draw):
    """Everything that the nets read."""
    for number, rows in enumerate((5, 3)):
        with h5py.File(folder / f"{number}.h5", "w") as stream:
            stream["data"] = draw.standard_normal((rows, 6))
            stream["label"] = draw.integers(9, size=rows)
            stream["plane"] = draw.standard_normal((rows, 2, 1, 3)).astype(np.float32)
    (folder / "hdf5").write_text(f"{folder}/0.h5\n{folder}/1.h5\n")
    (folder / "hdf5_one").write_text(f"{folder}/0.h5\n")
    write_databases(folder, draw)
    for name, shape in (("H", (3, 3)), ("mean", (3, 14, 14))):
        blob = caffe_pb2.BlobProto(data=draw.uniform(0, 9, shape).ravel().tolist())
        sizes = (1,) * (4 - len(shape)) + shape
        blob.num, blob.channels, blob.height, blob.width = sizes
        (folder / name).write_bytes(blob.SerializeToString())
    noise = draw.integers(0, 256, (16, 20, 4)).astype(np.uint8)
    Image.fromarray(noise[..., :3]).save(folder / "noise.png")
    Image.fromarray(noise[..., :3]).save(folder / "a name.bmp")
    Image.fromarray(noise[..., 0]).save(folder / "gray.png")
    photo = Image.fromarray(noise[::4, ::4, :3]).resize((23, 17), Image.Resampling.BICUBIC)
    turned = Image.Exif()
    turned[0x112] = 6  # turned by a quarter
    photo.save(folder / "photo.jpg", quality=80, exif=turned)
    (folder / "images").write_text("noise.png 3\na name.bmp 1\nphoto.jpg 0\ngray.png -7\n")
    window = "# 0 noise.png 3 16 20 {} # 1 photo.jpg 3 23 17 1 0 0.1 {}\n"
    (folder / "inside").write_text(window.format("1 2 0.9 4 3 13 14", "0 0 9 21"))
    (folder / "border").write_text(window.format("1 2 0.9 0 0 19 6", "10 2 16 22"))


def write_databases(folder, draw):
    """Five images as bytes, as floats, and as image files of several kinds."""
    values = draw.integers(0, 256, (5, 14, 14, 4)).astype(np.uint8)
    turned = Image.Exif()
    turned[0x112] = 6  # turned by a quarter
    files = {
        "encoded": (3, {"format": "PNG"}),
        "jpeg": (3, {"format": "JPEG", "exif": turned}),
        "gray": (1, {"format": "PNG"}),
        "alpha": (4, {"format": "PNG"}),
    }
    for kind in ("bytes", "floats", *files):
        database = lmdb.open(str(folder / f"lmdb_{kind}"), map_size=2**24)
        with database, database.begin(write=True) as transaction:
            for number, image in enumerate(values):
                datum = caffe_pb2.Datum(label=9 - number)
                if kind in files:
                    channels, settings = files[kind]
                    stream = io.BytesIO()
                    Image.fromarray(image[..., :channels].squeeze()).save(stream, **settings)
                    datum.data, datum.encoded = stream.getvalue(), True
                else:
                    planes = image[..., :3].transpose(2, 0, 1)
                    datum.channels, datum.height, datum.width = planes.shape
                    if kind == "bytes":
                        datum.data = planes.tobytes()
                    else:
                        datum.float_data.extend((planes / np.float32(7)).ravel().tolist())
                transaction.put(f"{number:05d}".encode(), datum.SerializeToString())


@pytest.fixture(scope="module")
def results(bvlc_python, tmp_path_factory):
    """Both providers' results of every net, by name."""
    folder = tmp_path_factory.mktemp("sources")
    draw = np.random.default_rng(8)
    write_files(folder, draw)
    inputs = {
        "data:x": draw.standard_normal((4, 3)).astype(np.float32),
        "data:l": np.array([2, 0, 1, 1], np.float32),
    }
    jobs, ours = [], {}
    for name, (text, phase, passes) in NETS.items():
        paths = {}
        for who in ("ours", "theirs"):
            paths[who] = folder / f"{name}_{who}.prototxt"
            out = f"{folder}/{name}_{who}"
            paths[who].write_text(text.replace("DIR", str(folder)).replace("OUT", out))
        net = Net(paths["ours"], phase)
        for blob in net.inputs:
            net.blobs[blob].data[...] = inputs[f"data:{blob}"]
        for _ in range(passes):
            net.forward()
        backward = "force_backward" in text
        if backward:
            net.backward()
        np.savez(folder / f"{name}.npz", **inputs)
        ours[name] = net
        jobs.append(
            {
                "name": name, "net": str(paths["theirs"]), "weights": None, "phase": phase,
                "inputs": list(net.inputs), "diffs": [], "backward": backward, "passes": passes,
            }
        )  # fmt: skip
    run_jobs(bvlc_python, folder, jobs)
    return folder, {n: (net, np.load(folder / f"{n}.out.npz")) for n, net in ours.items()}


@pytest.mark.parametrize("name", NETS)
def test_source(results, name):
    net, theirs = results[1][name]
    for blob in net.blobs:
        ours = net.blobs[blob]
        assert tuple(ours.shape) == theirs[f"data:{blob}"].shape
        np.testing.assert_allclose(ours.data, theirs[f"data:{blob}"], rtol=1e-6, atol=1e-5)
        if net.inputs:
            close = {"rtol": 1e-5, "atol": 1e-6}
            np.testing.assert_allclose(ours.diff, theirs[f"diff:{blob}"], **close)


def test_written_files(results):
    paths = [results[0] / f"hdf5_output_{who}.h5" for who in ("ours", "theirs")]
    with h5py.File(paths[0], "r") as ours, h5py.File(paths[1], "r") as theirs:
        assert sorted(ours) == sorted(theirs) == ["data", "label"]
        for name in ours:
            assert ours[name].dtype == theirs[name].dtype
            np.testing.assert_array_equal(ours[name][...], theirs[name][...])
