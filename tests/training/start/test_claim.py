"""Whose a run directory is; how a start waits for room there is in test_run.py."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from dualnet.config import load as load_config
from dualnet.data import fingerprint
from dualnet.errors import ManifestMismatch, StorageFailed, UsageError
from dualnet.rundir import RunDir
from dualnet.training.checkpoint.caffe_files import clean
from dualnet.training.net.resolve import resolve
from dualnet.training.start.claim import claim
from tests.training.pieces import load


def start(name, *overrides):
    config = load(*overrides)
    claim(config, resolve(config, RunDir("run").piece(name)))
    return config


def test_first_one_leaves_its_config_and_further_starts_of_it_are_welcome(workdir):
    config = start("net1")
    path = Path(RunDir("run").config)
    written = path.read_bytes()
    assert load_config(str(path)) == config.with_files(os.path.abspath)
    for name in ("net2", "net1"):
        start(name)
    assert path.read_bytes() == written


def test_data_on_a_failing_disk_is_no_other_data(workdir, monkeypatch):
    start("net1")

    def fail(path):
        raise OSError(errno.EIO, os.strerror(errno.EIO), path)

    monkeypatch.setattr(fingerprint, "of_database", fail)
    with pytest.raises(
        StorageFailed, match="cannot read .*/data/.*: Input/output error; check the"
    ):
        start("net1")


def test_another_config_is_refused_and_changes_nothing(workdir):
    start("net1")
    written = (Path(RunDir("run").config)).read_bytes()
    expected = r"coupling.gamma is 7.0, was 1000.0 when this run began; change it back"
    with pytest.raises(ManifestMismatch, match=expected):
        start("net2", "coupling.gamma=7")
    assert (Path(RunDir("run").config)).read_bytes() == written


@pytest.mark.parametrize(
    ("line", "snapshot", "is_refused"),
    [
        ("Solving net1\n", 0, True),
        ("Solving net1\n", 2, False),
        ("waiting for net2\n", 0, False),
    ],
)
def test_what_has_begun_and_cannot_go_on_is_refused(workdir, line, snapshot, is_refused):
    settings = ("train.max_iter=9", f"train.snapshot={snapshot}")
    start("net1", *settings)
    Path(RunDir("run").piece("net1").log).write_text(
        "I0101 00:00:00.000000 1 solver.cpp:1] " + line
    )
    start("net2", *settings)  # only the one that has trained
    if not is_refused:
        start("net1", *settings)
        return
    with pytest.raises(UsageError, match=r"net1 has trained here already \(run/net1.log\)"):
        start("net1", *settings)


class _Killed(BaseException):
    """The process is gone: nothing that it would do on its way out is done."""


def test_what_a_killed_start_leaves_is_removed_by_the_next(workdir, monkeypatch):
    """Half-written copies of the files that both pieces may be the first to write."""
    config = load()
    resolved = resolve(config, RunDir("run").piece("net1"))
    for name in ("run.json", "config.yaml"):
        with monkeypatch.context() as patch:

            def dies(source, target, name=name, link=os.link):
                if target.endswith(name):
                    raise _Killed
                link(source, target)

            patch.setattr(os, "link", dies)
            patch.setattr("dualnet.atomic._discard", lambda temporary, fs: None)
            with pytest.raises(_Killed):
                claim(config, resolved)
    left = {path.name for path in Path("run").iterdir()} - {"run.json", "exchange"}
    assert len(left) == 2 and all(name.startswith(".net1.tmp.") for name in left)
    clean(RunDir("run").piece("net2"))
    assert left <= set(os.listdir("run"))  # somebody else's: it may be at work
    clean(RunDir("run").piece("net1"))
    assert sorted(os.listdir("run")) == ["exchange", "run.json"]
