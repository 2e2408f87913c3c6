"""Which commit runs: of a checkout, and of nothing else."""

from __future__ import annotations

import shutil
import subprocess
import time

import pytest

from dualnet.training.history import source
from dualnet.training.history.source import commit_of


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A repository of one commit; skips where git is absent."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    root = tmp_path / "checkout"
    root.mkdir()
    (root / "file").write_text("one")
    git = ["git", "-C", str(root), "-c", "user.name=a", "-c", "user.email=a@b", "-c",
           "commit.gpgsign=false"]  # fmt: skip
    for words in (["init", "-q"], ["add", "file"], ["commit", "-q", "-m", "one"]):
        subprocess.run([*git, *words], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, stdout=subprocess.PIPE)
    return root, head.stdout.decode().strip()


def test_a_commit_and_whether_files_were_changed(checkout, monkeypatch):
    root, head = checkout
    assert commit_of(root) == head and len(head) == 40
    monkeypatch.setenv("GIT_DIR", str(root / "nowhere"))  # as a hook has it
    assert commit_of(root) == head
    (root / "new").write_text("not tracked")
    assert commit_of(root) == head
    (root / "file").write_text("two")
    assert commit_of(root) == f"{head}-dirty"


def test_a_folder_inside_a_checkout_is_none(checkout):
    root, _ = checkout
    (root / "site-packages").mkdir()
    assert commit_of(root / "site-packages") == ""


def test_without_git_or_an_answer_there_is_no_commit(checkout, monkeypatch, tmp_path):
    root, _ = checkout
    slow = tmp_path / "bin" / "git"
    slow.parent.mkdir()
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setattr(source, "_LIMIT_S", 0.2)
    monkeypatch.setenv("PATH", str(slow.parent), prepend=":")
    begun_s = time.monotonic()
    assert commit_of(root) == "" and time.monotonic() - begun_s < 30
    slow.write_text("#!/bin/sh\nexit 128\n")
    assert commit_of(root) == ""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit_of(root) == ""
