"""Exported runs against the engine, and what keeps a wrong file from being written."""
# ruff: noqa: E402 (PyTorch first: where it is absent, these tests are skipped)

from __future__ import annotations

import base64
import importlib.util
import itertools
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from dualnet import config as cfg
from dualnet.backend import caffe, provider
from dualnet.config import Config
from dualnet.data.databases.lmdb import read_lmdb, write_lmdb
from dualnet.data.mean import write_mean
from dualnet.engine.errors import UnsupportedError
from dualnet.engine.export import program
from dualnet.engine.export.texts import ONNX_PACKAGES
from dualnet.errors import ConfigError, StorageFailed, UsageError
from dualnet.report.exported import describe
from dualnet.rundir import RunDir
from dualnet.training.checkpoint import caffe_files
from dualnet.training.net.nets import Nets
from dualnet.training.net.resolve import resolve
from dualnet.training.net.resolve import write as write_resolved
from dualnet.training.outcome.export import export
from dualnet.training.outcome.merge import merge
from tests.training.outcome.test_merge import OTHERS, pieces_of
from tests.training.pieces import load, make_nets

pytestmark = pytest.mark.skipif(provider != "engine", reason="PyTorch traces the engine")

onnx_only = pytest.mark.skipif(
    not all(importlib.util.find_spec(package) for package in ONNX_PACKAGES),
    reason="the extra dualnet[onnx] is not installed",
)
KINDS = [".pt2", pytest.param(".onnx", marks=onnx_only)]


def initial_run(config: Config, *names: str) -> RunDir:
    """A run that was never trained: weights are what fillers made of different seeds."""
    os.makedirs("run", exist_ok=True)
    for name in names or config.names:
        resolved = resolve(config, RunDir("run").piece(name))
        write_resolved(resolved)
        caffe_files.save(Nets(config, resolved), 4)
    Path("run/config.yaml").write_text(config.to_yaml())
    return RunDir("run")


@pytest.fixture
def run(workdir):
    """The digits in two pieces, with other dual layers in each."""
    for role, seed in (("net1", 3), ("net2", 4)):
        caffe_files.save(make_nets(role, "run", f"seed={seed}"), 4)
    (workdir / "run/config.yaml").write_text(load().to_yaml())
    return RunDir("run")


def tidy(workdir, *names):
    """Whether nothing but `names` was left in the working directory."""
    found = {path.name for path in workdir.iterdir()}
    return found - {"data", "configs", "prototxt", "run", "net"} == set(names)


@pytest.mark.parametrize("kind", KINDS)
def test_digits(run, workdir, kind):
    made = export(run, load(), f"m{kind}")
    assert made.path == f"m{kind}" and made.is_data and made.samples == 3 * 60
    assert made.difference <= 1e-6
    assert tidy(workdir, f"m{kind}")


def data_of_shape(name, shape):
    """A data set of random images, in the place of one that has to be fetched."""
    folder = Path("data") / name
    folder.mkdir()
    for part, count in (("train_lmdb", 4), ("test_lmdb", 6)):
        images = np.random.randint(0, 256, (count, *shape), np.uint8)
        write_lmdb(folder / part, images, np.arange(count, dtype=np.uint8) % 2)
    write_mean(folder / "mean.binaryproto", np.random.rand(*shape).astype(np.float32) * 255)


SHIPPED = {
    "cifar10": ("configs/cifar10.yaml", (3, 32, 32)),
    "cifar10_three": ("configs/cifar10_three.yaml", (3, 32, 32)),
    "cats_dogs": ("configs/cats_dogs.yaml", (3, 227, 227)),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "name", ["cifar10", "cifar10_three", pytest.param("cats_dogs", marks=pytest.mark.slow)]
)
def test_shipped_nets(workdir, name, kind):
    path, shape = SHIPPED[name]
    data_of_shape("cats-dogs" if name == "cats_dogs" else "cifar10", shape)
    config = cfg.load(path, ["train.batch_size=2", "train.test_interval=0"])
    made = export(initial_run(config), config, f"m{kind}", batches=1)
    assert made.is_data and made.difference <= 1e-5
    facts = describe(f"m{kind}")
    assert facts["inputs"]["data"]["shape"] == ["batch", *shape]
    if name == "cats_dogs":
        assert facts["classes"] == ["cat", "dog"]
        assert facts["inputs"]["data"]["channel_order"] == "BGR"
    else:
        assert facts["classes"][:2] == ["airplane", "automobile"]
        assert facts["inputs"]["data"]["channel_order"] == "RGB"  # as CIFAR-10's authors store it


def test_a_run_of_the_single_net(workdir):
    run = initial_run(load(), "single")
    made = export(run, load(), "m.pt2")
    assert made.difference <= 1e-6 and made.samples == 180


EXPORTABLE = [
    "Crop", "siamese", "BatchNorm and Dropout", "autoencoder", "mask", "never tested",
    "heads above the cut", "two kinds of loss", "HDF5", "layers without a name", "stages",
]  # fmt: skip


@pytest.mark.parametrize("name", EXPORTABLE)
def test_nets_of_all_kinds(workdir, name):
    text, at, dual, predictions = OTHERS[name]
    run, config = pieces_of(text, at, dual)
    made = export(run, config, "m.pt2", batches=2)
    assert made.difference <= 1e-5
    assert sorted(describe("m.pt2")["outputs"]) == sorted(predictions)


@onnx_only
@pytest.mark.parametrize(("name", "inputs"), [("heads above the cut", 1), ("HDF5", 2)])
def test_inputs_and_outputs_keep_their_names_in_onnx(workdir, name, inputs):
    import onnxruntime

    text, at, dual, predictions = OTHERS[name]
    export(*pieces_of(text, at, dual), "m.onnx")
    session = onnxruntime.InferenceSession("m.onnx", providers=["CPUExecutionProvider"])
    assert sorted(one.name for one in session.get_outputs()) == sorted(predictions)
    assert len(session.get_inputs()) == inputs
    assert all(one.shape[0] == "batch" for one in session.get_inputs())


# What is refused.


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("LSTM", r"layer 'lstm' \(LSTM\) steps along axis 0"),
        ("own Python layers", r"layer 'times' \(Python\) is Python code of its own"),
    ],
)
def test_layers_that_cannot_be_exported(workdir, name, why):
    run, config = pieces_of(*OTHERS[name][:3])
    with pytest.raises(UnsupportedError, match=f"^the net cannot be exported: {why}"):
        export(run, config, "m.pt2")
    assert not os.path.exists("m.pt2") and not list(workdir.glob(".export-*"))


@pytest.mark.parametrize("kind", KINDS)
def test_other_scores_than_the_engines_are_an_error(run, workdir, monkeypatch, kind):
    trace = program.trace

    def tampered(module):
        with torch.no_grad():
            module.ip2.bias[3] += 1e-3
        return trace(module)

    monkeypatch.setattr("dualnet.engine.export.program.trace", tampered)
    with pytest.raises(ConfigError) as caught:
        export(run, load(), f"m{kind}")
    assert re.search(
        rf"^m\{kind}: prob\[\d+, \d\] is \S+ when it is loaded again and \S+ on the engine, where "
        r"1e-05 is the largest difference allowed; nothing was written$", str(caught.value),
    )  # fmt: skip
    assert tidy(workdir)


def test_a_file_that_is_there_stays_unless_forced(run, workdir, monkeypatch):
    (workdir / "m.pt2").write_text("precious")
    with pytest.raises(UsageError, match=r"^m\.pt2 exists already: give --force"):
        export(run, load(), "m.pt2")

    def full(*arguments):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("dualnet.engine.export.program.write_pt2", full)
        with pytest.raises(StorageFailed, match=r"^m\.pt2: cannot write .*: No space left"):
            export(run, load(), "m.pt2", force=True)
    assert (workdir / "m.pt2").read_text() == "precious" and tidy(workdir, "m.pt2")
    export(run, load(), "m.pt2", force=True)
    assert describe("m.pt2")["net"] == "digits"


def test_mistakes(run, workdir):
    with pytest.raises(UsageError, match=r"m\.pth: the file's name must end in \.pt2 or \.onnx"):
        export(run, load(), "m.pth")
    with pytest.raises(UsageError, match="--batches 0: at least one"):
        export(run, load(), "m.pt2", batches=0)
    with pytest.raises(UsageError, match="--dual net3: valid values are"):
        export(run, load(), "m.pt2", dual="net3")
    with pytest.raises(StorageFailed, match=r"nowhere/m\.pt2: cannot write"):
        export(run, load(), "nowhere/m.pt2")
    with pytest.raises(ConfigError, match="--shape image: no data layer makes it; they make data,"):
        export(run, load(), "m.pt2", given={"image": [1, 8, 8]})
    assert tidy(workdir)


def test_the_packages_of_onnx_are_asked_for_first(run, workdir, monkeypatch):
    monkeypatch.setattr("dualnet.engine.export.texts.ONNX_PACKAGES", ("no_such_package",))
    monkeypatch.setattr("dualnet.engine.export.onnx_file.ONNX_PACKAGES", ("no_such_package",))
    with pytest.raises(UnsupportedError, match=r"run pip install 'dualnet\[onnx\]', or export a"):
        export(run, load(), "m.onnx")


# Where the data set is not.


def test_without_the_data_set(run, workdir):
    (workdir / "data" / "digits").unlink()
    with pytest.raises(ConfigError, match=r"/data/digits/test_lmdb' is not here.*--shape"):
        export(run, load(), "m.pt2")
    made = export(run, load(), "m.pt2", given={"data": [1, 8, 8]})
    assert not made.is_data and made.difference <= 1e-6
    mean = describe("m.pt2")["inputs"]["data"]["mean_image"]
    assert mean == {"file": "mean.binaryproto", "base64": None}


# What is recorded.


def test_preprocessing_makes_of_images_what_the_data_layer_makes(run, workdir):
    export(run, load(), "m.pt2")
    extra = {"preprocessing.json": ""}
    torch.export.load("m.pt2", extra_files=extra)
    facts = json.loads(extra["preprocessing.json"])
    assert facts["net"] == "digits" and facts["iteration"] == 4
    assert facts["classes"] == [str(digit) for digit in range(10)]
    assert facts["outputs"]["prob"] == {"shape": ["batch", 10], "made_by": "Softmax", "of": "ip2"}
    data = facts["inputs"]["data"]
    assert data["shape"] == ["batch", 1, 8, 8] and data["channel_order"] == "grey"
    mean = data["mean_image"]
    mean = np.frombuffer(base64.b64decode(mean["base64"]), mean["dtype"]).reshape(mean["shape"])
    records = read_lmdb(Path("data/digits/test_lmdb"))
    images = np.stack([record.image for record in itertools.islice(records, 60)])
    records.close()
    merge(run, load(), "m.caffemodel")
    net = caffe.Net("m_train_test.prototxt", caffe.TEST, weights="m.caffemodel")
    net.forward()
    prepared = (images.astype(np.float32) - mean) * np.float32(data["scale"])
    assert np.array_equal(prepared, net.blobs["data"].data)


def test_labels_beside_the_database_name_the_classes(run, workdir):
    digits = Path("data/digits").resolve()
    Path("data/digits").unlink()
    Path("data/digits").mkdir()
    for part in ("train_lmdb", "test_lmdb", "mean.binaryproto"):
        Path("data/digits", part).symlink_to(digits / part)
    Path("data/digits/labels.txt").write_text("".join(f"class {i}\n" for i in range(10)))
    export(run, load(), "m.pt2")
    assert describe("m.pt2")["classes"] == [f"class {i}" for i in range(10)]
    # A file of as many names as there are scores only.
    Path("data/digits/labels.txt").write_text("one\ntwo\n")
    export(run, load(), "m.pt2", force=True)
    assert describe("m.pt2")["classes"] is None


def test_no_path_of_this_machine_is_in_the_files(run, workdir, repository):
    kinds = [".pt2", *([".onnx"] if all(map(importlib.util.find_spec, ONNX_PACKAGES)) else [])]
    for kind in kinds:
        export(run, load(), f"m{kind}")
        content = Path(f"m{kind}").read_bytes()
        for text in (str(repository), str(workdir), os.path.dirname(torch.__file__)):
            assert text.encode() not in content
