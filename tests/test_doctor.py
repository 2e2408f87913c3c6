"""The report on a machine: each line says what is there, or what to do about it."""

from __future__ import annotations

import builtins
import importlib
import os
import shutil
from types import SimpleNamespace

import pytest

from dualnet import doctor
from dualnet.errors import UsageError


def lines():
    return [line.split("  ", 1) for line in doctor.examine().splitlines()]


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

    text = doctor.examine()
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


def test_gpus_are_listed_by_their_numbers(monkeypatch):
    names = ["null", "nvidia1", "nvidia0", "nvidiactl", "nvidia-uvm"]
    monkeypatch.setattr(os, "listdir", lambda path: names if path == "/dev" else [])
    assert [line for line in lines() if "GPU" in line[1]] == [
        ["ok", "GPU 0: use device: 0"],
        ["ok", "GPU 1: use device: 1"],
    ]


def test_no_gpu(monkeypatch):
    monkeypatch.setattr(os, "listdir", lambda path: ["null"])
    assert line_with("GPU") == ["--", "no NVIDIA GPU here: use device: cpu"]


@pytest.mark.parametrize(("free_gib", "mark"), [(50, "ok"), (0.5, "!!")])
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
