"""Lists and folders of images, and what is wrong with them."""

from __future__ import annotations

import os

import pytest

from dualnet.data.own_images.image_list import read_source, train_and_test_folders
from dualnet.errors import ConfigError


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def entries_of(listing):
    return [(entry.name, entry.label) for entry in listing.entries]


@pytest.mark.parametrize(
    "text",
    [
        "a.jpg 0\nsub/b c.jpg 12\n",
        "a.jpg 0\r\nsub/b c.jpg 12\r\n",
        "\ufeffa.jpg\t0\n\n  \nsub/b c.jpg   12",
    ],
)
def test_lists(tmp_path, text):
    touch(tmp_path / "a.jpg")
    (tmp_path / "list.txt").write_bytes(text.encode())
    found = read_source(tmp_path / "list.txt")
    assert entries_of(found) == [("a.jpg", 0), ("sub/b c.jpg", 12)]
    assert found.entries[1].path == tmp_path / "sub/b c.jpg" and found.classes is None


def test_the_root_of_a_list_and_absolute_paths(tmp_path):
    touch(tmp_path / "root/a.jpg")
    (tmp_path / "list.txt").write_text(f"a.jpg 1\n{tmp_path}/root/a.jpg 2\n")
    found = read_source(tmp_path / "list.txt", tmp_path / "root")
    assert {entry.path for entry in found.entries} == {tmp_path / "root/a.jpg"}
    (tmp_path / "list.txt").write_text("a.jpg 1\n")
    with pytest.raises(ConfigError, match="list.txt: none of its first 1 images.*give --root"):
        read_source(tmp_path / "list.txt")


@pytest.mark.parametrize(
    "line", ["b.jpg", "b.jpg one", "b.jpg -1", "b.jpg 0.5", "b.jpg,1", "b.jpg 2147483648",
             "b.jpg " + "9" * 5000, "b.jpg ²", "7"],
)  # fmt: skip
def test_wrong_lines_are_told_by_number(tmp_path, line):
    touch(tmp_path / "a.jpg")
    (tmp_path / "list.txt").write_text(f"a.jpg 0\n{line}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"list.txt:2: .*expected PATH LABEL") as caught:
        read_source(tmp_path / "list.txt")
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("kind", ["missing", "empty", "binary", "pipe"])
def test_what_is_no_list(tmp_path, kind):
    path = tmp_path / "list.txt"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind != "missing":
        path.write_bytes({"empty": b"\n", "binary": b"\x89PNG\0\0\0"}[kind])
    with pytest.raises(ConfigError, match="list.txt: ") as caught:
        read_source(path)
    assert "\n" not in str(caught.value)


def test_names_that_are_no_text(tmp_path):
    name = b"caf\xe9.jpg"
    touch(tmp_path / os.fsdecode(name))
    (tmp_path / "list.txt").write_bytes(name + b" 3\n")
    (entry,) = read_source(tmp_path / "list.txt").entries
    assert os.fsencode(entry.name) == name and entry.path.exists()


def test_folders(tmp_path):
    touch(tmp_path / "dog/2.JPG", tmp_path / "dog/1.png", tmp_path / "cat/deep/3.jpeg",
          tmp_path / "cat/notes.txt", tmp_path / "cat/._3.jpeg", tmp_path / ".git/4.jpg",
          tmp_path / "readme.jpg")  # fmt: skip
    found = read_source(tmp_path)
    assert entries_of(found) == [("cat/deep/3.jpeg", 0), ("dog/1.png", 1), ("dog/2.JPG", 1)]
    assert found.classes == ["cat", "dog"] and found.left_out == 2
    # Test images follow the classes of the training images.
    test = read_source(tmp_path, classes=["ant", "cat", "dog"])
    assert [label for _, label in entries_of(test)] == [1, 2, 2]
    with pytest.raises(ConfigError, match="cat: no class of the training images, which are ant"):
        read_source(tmp_path, classes=["ant"])


def test_a_folder_without_classes(tmp_path):
    touch(tmp_path / "1.jpg")
    with pytest.raises(ConfigError, match="no images in its folders: expected one folder for each"):
        read_source(tmp_path)


def test_train_and_test_within_a_folder(tmp_path):
    touch(tmp_path / "train/cat/1.jpg", tmp_path / "val/cat/1.jpg")
    assert train_and_test_folders(tmp_path) == (tmp_path / "train", tmp_path / "val")
    touch(tmp_path / "test/cat/1.jpg")
    with pytest.raises(ConfigError, match="has test and val: give .*train and --test"):
        train_and_test_folders(tmp_path)
    touch(tmp_path / "car/1.jpg")  # then they are classes
    assert train_and_test_folders(tmp_path) == (tmp_path, None)
    assert train_and_test_folders(tmp_path / "list.txt") == (tmp_path / "list.txt", None)
