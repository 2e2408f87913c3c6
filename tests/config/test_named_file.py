"""Where the file is that a YAML or a prototxt names."""

from __future__ import annotations

import os

import pytest

from dualnet.config.named_file import find, looked_in


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Two projects; the working directory is the other one."""
    for folder in ("ours/nets", "other"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "other")
    return tmp_path


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")
    return str(path)


def test_places_in_their_order(project):
    named_by = project / "ours/nets/solver.prototxt"
    above = touch(project / "ours/data/x")
    assert find("data/x", str(named_by)) == above
    touch(project / "other/data/x")
    assert find("data/x", str(named_by)) == "data/x"
    beside = touch(project / "ours/nets/data/x")
    assert find("data/x", str(named_by)) == beside


def test_a_relative_file_that_names_gives_a_relative_path(project, monkeypatch):
    touch(project / "ours/nets/net.prototxt")
    monkeypatch.chdir(project / "ours")
    assert find("net.prototxt", "nets/solver.prototxt") == "nets/net.prototxt"
    assert find("../nets/net.prototxt", "nets/solver.prototxt") == "nets/net.prototxt"


def test_what_is_nowhere_or_absolute_or_empty_stays(project):
    named_by = str(project / "ours/nets/solver.prototxt")
    for path in ("data/x", "/data/x", ""):
        assert find(path, named_by) == path


def test_words_for_where_it_was_looked_for(project):
    named_by = str(project / "ours/nets/solver.prototxt")
    words = looked_in("data/x", named_by)
    assert words == (
        f" (looked beside {named_by}, in the working directory {os.getcwd()} and in the folders "
        f"above {project / 'ours/nets'})"
    )
    assert looked_in("/data/x", named_by) == ""
    assert "working directory" not in looked_in("x", "solver.prototxt")
