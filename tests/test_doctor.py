"""The report on a machine: each line says what is there, or what to do about it."""

from __future__ import annotations

import builtins
import importlib
import os
import shutil
from types import SimpleNamespace

import pytest

from dualnet import doctor
from dualnet.cli import main
from dualnet.errors import UsageError


def lines():
    return [line.split("  ", 1) for line in doctor.report(doctor.examine()).splitlines()]


def line_with(text):
    (found,) = [line for line in lines() if text in line[1]]
    return found


@pytest.fixture
def modules(monkeypatch):
    """Makes imports of some modules give something else, or fail."""
    real = importlib.import_module
    changed = {}

    def import_module(name):
        if name not in changed:
            return real(name)
        if isinstance(changed[name], Exception):
            raise changed[name]
        return changed[name]

    monkeypatch.setattr(importlib, "import_module", import_module)
    return changed


def test_every_line_has_a_mark_and_a_text():
    for mark, text in lines():
        assert mark in ("ok", "--", "!!") and text


def test_report_names_versions_provider_and_cores():
    from dualnet import __version__, backend

    text = doctor.report(doctor.examine())
    assert f"ok  dualnet {__version__}, Python 3." in text
    assert f"ok  Caffe: {backend.provider}" in text
    assert f"ok  {len(os.sched_getaffinity(0))} CPU cores" in text
    assert "ok  numpy " in text and "ok  yaml " in text


def test_missing_library(modules):
    modules["lmdb"] = ImportError("No module named 'lmdb'")
    mark, text = line_with("lmdb")
    assert mark == "!!" and "missing, needed for data sets; pip install" in text


def test_broken_library(modules):
    modules["h5py"] = RuntimeError("wrong ABI:\n  expected 1, got 2")
    mark, text = line_with("h5py")
    assert mark == "!!" and "broken (wrong ABI: expected 1, got 2)" in text


def test_no_caffe_at_all(modules):
    modules["dualnet.backend"] = UsageError("no Caffe found: run this or that")
    assert line_with("no Caffe found") == ["!!", "no Caffe found: run this or that"]


def test_provider_and_version(modules):
    caffe = SimpleNamespace(__version__="1.0.0")
    modules["dualnet.backend"] = SimpleNamespace(provider="bvlc", caffe=caffe)
    assert line_with("Caffe: ") == ["ok", "Caffe: bvlc 1.0.0"]


def torch_with(*gpus):
    """A stand-in for PyTorch that can use some GPUs, each a name and GiB."""
    cuda = SimpleNamespace(
        device_count=lambda: len(gpus),
        get_device_name=lambda number: gpus[number][0],
        get_device_properties=lambda number: SimpleNamespace(total_memory=gpus[number][1] << 30),
    )
    return SimpleNamespace(cuda=cuda, __version__="9.9")


@pytest.fixture
def two_cards(monkeypatch):
    names = ["null", "nvidia1", "nvidia0", "nvidiactl", "nvidia-uvm"]
    monkeypatch.setattr(os, "listdir", lambda path: names if path == "/dev" else [])


def test_gpus_are_listed_by_their_numbers(two_cards, modules):
    modules["torch"] = torch_with(("Card A", 80), ("Card B", 16))
    assert [line for line in lines() if "GPU" in line[1]] == [
        ["ok", "GPU 0: Card A, 80 GiB: use device: 0"],
        ["ok", "GPU 1: Card B, 16 GiB: use device: 1"],
    ]


def test_gpus_that_pytorch_cannot_use(two_cards, modules):
    modules["torch"] = torch_with()
    mark, text = line_with("GPU")
    assert mark == "--" and text.startswith("2 NVIDIA GPU here, but PyTorch 9.9 cannot use it")


def test_gpus_without_pytorch(two_cards, modules):
    modules["torch"] = ImportError("No module named 'torch'")
    modules["dualnet.backend"] = SimpleNamespace(provider="bvlc", caffe=SimpleNamespace())
    found = [line for line in lines() if "GPU" in line[1]]
    assert [mark for mark, _ in found] == ["--", "--"]


def test_no_gpu(monkeypatch):
    monkeypatch.setattr(os, "listdir", lambda path: ["null"])
    assert line_with("GPU") == ["--", "no NVIDIA GPU here: use device: cpu"]


@pytest.mark.parametrize(("free_gib", "mark"), [(50, "ok"), (0.5, "--")])
def test_space(monkeypatch, free_gib, mark):
    monkeypatch.setattr(
        shutil, "disk_usage", lambda path: SimpleNamespace(free=int(free_gib * 2**30))
    )
    assert line_with("GiB free") == [mark, f"{free_gib:.1f} GiB free in the working directory"]


def test_data_sets(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "digits" / "train_lmdb").mkdir(parents=True)
    assert line_with("data set digits") == ["ok", "data set digits in data/digits"]
    assert line_with("data set cifar10") == [
        "--", "data set cifar10 is not in data/cifar10: dualnet data cifar10"
    ]  # fmt: skip


def test_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(builtins, "print", None)
    doctor.examine()
    assert os.listdir(tmp_path) == []


def test_exit_code(tmp_path, monkeypatch, modules, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["doctor"]) == 0
    modules["lmdb"] = ImportError("No module named 'lmdb'")
    assert main(["doctor"]) == 1
    said = capsys.readouterr()
    assert "!!  lmdb: missing" in said.out
    assert said.err == "dualnet: doctor: 1 thing(s) marked !! must be mended before training\n"


def test_a_shared_directory_is_tried(tmp_path):
    found = doctor.examine(str(tmp_path))
    (line,) = [one for one in found if one.text.startswith("shared directory")]
    assert line.mark == "ok" and "MiB/s written, synced and read back" in line.text
    (line,) = [one for one in doctor.examine(str(tmp_path / "gone")) if "shared" in one.text]
    assert line.mark == "!!" and "no such directory" in line.text
