"""What `create_project` leaves, and what it does not touch."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dualnet import config
from dualnet.errors import StorageFailed, UsageError
from dualnet.project.create import create_project
from dualnet.project.examples import EXAMPLES


def there(folder):
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


@pytest.mark.parametrize("name", EXAMPLES)
def test_it_leaves_the_files_that_it_names(name, tmp_path):
    folder = tmp_path / "deep" / "my-net"
    files = create_project(folder, EXAMPLES[name])
    assert there(folder) == sorted(files)
    assert {"README.md", ".gitignore"} <= set(files)
    for path in files:
        text = (folder / path).read_text(encoding="utf-8")
        assert os.access(folder / path, os.X_OK) == text.startswith("#!"), path


@pytest.mark.parametrize(("name", "pieces"), [("digits", 2), ("three", 3), ("cifar10", 2)])
def test_yaml_and_page_fit_the_example(name, pieces, tmp_path, monkeypatch):
    create_project(tmp_path / "my-net", EXAMPLES[name])
    monkeypatch.chdir(tmp_path / "my-net")
    loaded = config.load("dualnet.yaml")
    assert loaded.name == "my-net" and len(loaded.names) == pieces
    assert all(Path(loaded.piece(one).solver).is_file() for one in (*loaded.names, "single"))
    page = Path("README.md").read_text(encoding="utf-8")
    assert page.startswith(f"# my-net\n\nA net in {pieces} pieces")
    assert f"dualnet data {EXAMPLES[name].data}" in page
    for number in range(1, pieces + 1):
        assert f"scripts/run_net.sh {number} dualnet.yaml runs/first" in page
    assert f"run_net.sh {pieces + 1}" not in page


def test_an_empty_folder_is_taken_and_a_full_one_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    create_project(tmp_path / "empty", EXAMPLES["digits"])
    full = tmp_path / "full"
    full.mkdir()
    (full / "dualnet.yaml").write_text("mine")
    with pytest.raises(UsageError, match=r"full: not empty \(it has dualnet.yaml\).*--force"):
        create_project(full, EXAMPLES["digits"])
    assert there(full) == ["dualnet.yaml"] and (full / "dualnet.yaml").read_text() == "mine"


def test_forced_it_keeps_what_has_another_name(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "dualnet.yaml").write_text("old")
    create_project(tmp_path, EXAMPLES["digits"], force=True)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert "old" not in (tmp_path / "dualnet.yaml").read_text()


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="file: a file; name a folder"):
        create_project(tmp_path / "file", EXAMPLES["digits"])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(StorageFailed, match="cannot be written"):
        create_project(tmp_path / "my-net", EXAMPLES["digits"])


def test_a_path_through_a_file_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises((StorageFailed, UsageError), match="file"):
        create_project(tmp_path / "file" / "my-net", EXAMPLES["digits"])
