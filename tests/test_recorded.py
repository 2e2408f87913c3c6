"""Records against their seals, and files against what records state of them."""

from __future__ import annotations

import errno
import json

import pytest

from dualnet.recorded import damage, damage_of, digest_file, read_record, seal, with_retries
from tests.exchange.fakes import VirtualFs


def write_record(folder, **fields):
    path = folder / "net1_iter_5.checkpoint.json"
    path.write_text(json.dumps({"version": 1, **fields, "sha256": seal(fields)}))
    return path


def test_a_single_file_against_the_record_beside_it(tmp_path):
    path = tmp_path / "net1_iter_5.caffemodel"
    path.write_bytes(b"weights")
    write_record(tmp_path, files={path.name: digest_file(str(path))})
    assert damage_of(str(path)) == ""
    path.write_bytes(b"eights")
    assert damage_of(str(path)).startswith("net1_iter_5.caffemodel has SHA-256 ")
    # No record, or one that does not know the file, says nothing about it.
    for name in ("net1_iter_6.caffemodel", "net1_iter_5.h5", "net1_iter_99999999999.x", "weights"):
        (tmp_path / name).write_bytes(b"mine")
        assert damage_of(str(tmp_path / name)) == ""


@pytest.mark.parametrize("files", [None, 5, ["net1_iter_5.caffemodel"]])
def test_a_record_without_files_says_nothing_about_one(tmp_path, files):
    write_record(tmp_path, files=files)
    (tmp_path / "net1_iter_5.caffemodel").write_bytes(b"weights")
    assert damage_of(str(tmp_path / "net1_iter_5.caffemodel")) == ""


def test_a_record_is_its_fields_or_what_is_wrong_with_it(tmp_path):
    path = write_record(tmp_path, iteration=5)
    assert read_record(str(path)) == {"iteration": 5}
    path.write_text(path.read_text().replace("5", "6", 1))
    assert read_record(str(path)) == "its record is damaged"
    path.write_text('{"version": 2}')
    assert read_record(str(path)) == "written by another version of dualnet"
    assert read_record(str(tmp_path / "gone")) == "No such file or directory"


def test_files_are_looked_for_in_the_directory_alone(tmp_path):
    (tmp_path / "a").write_bytes(b"a")
    found = {"../elsewhere/a": digest_file(str(tmp_path / "a"))}
    assert damage(str(tmp_path), found) == ""
    assert damage(str(tmp_path), {"b": "00"}) == "b: No such file or directory"


@pytest.mark.parametrize(("code", "tries"), [(errno.EIO, 4), (errno.ENOENT, 1), (errno.EINVAL, 1)])
def test_what_may_pass_is_tried_again(code, tries):
    fs, made = VirtualFs(), []

    def read():
        made.append(1)
        raise OSError(code, "it fails")

    with pytest.raises(OSError, match="it fails"):
        with_retries(read, fs)
    assert len(made) == tries
