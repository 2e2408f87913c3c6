"""A directory that is to carry messages, tried."""

from __future__ import annotations

import os
import platform
import time

from dualnet.exchange.disk import trial


def test_only_this_node_s_mark_stays(tmp_path):
    mark, text = trial.try_directory(str(tmp_path))
    assert mark == "ok" and "no other node has tried it yet" in text
    assert os.listdir(tmp_path) == [f".dualnet-doctor.{platform.node()}"]


def test_other_nodes_are_named_and_old_marks_removed(tmp_path):
    for node, age_s in (("node7", 60), ("node8", 7200)):
        path = tmp_path / f".dualnet-doctor.{node}"
        path.touch()
        os.utime(path, (time.time() - age_s,) * 2)
    mark, text = trial.try_directory(str(tmp_path))
    assert mark == "ok" and text.endswith("seen from here: node7")
    assert not (tmp_path / ".dualnet-doctor.node8").exists()


def test_a_directory_that_cannot_be_written(tmp_path, monkeypatch):
    def refuse(path):
        raise OSError(30, "Read-only file system", path)

    monkeypatch.setattr(trial, "_one_message", refuse)
    mark, text = trial.try_directory(str(tmp_path))
    assert mark == "!!" and "Read-only file system" in text


def test_what_is_damaged_on_the_way_is_seen(tmp_path, monkeypatch):
    real = open

    class Damaged:
        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def read(self):
            return b"\0" + self.file.read()[1:]

    monkeypatch.setattr(
        trial, "open", lambda path, mode="r", **more: Damaged(real(path, mode, **more))
        if mode == "rb" else real(path, mode, **more), raising=False,
    )  # fmt: skip
    mark, text = trial.try_directory(str(tmp_path))
    assert mark == "!!" and "reads back otherwise" in text
