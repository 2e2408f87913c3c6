"""The container files, which are not built here: they name what exists, and do not run as root."""

from __future__ import annotations

import re

import pytest

FILES = ["Containerfile", "Containerfile.engine"]


@pytest.fixture(params=FILES)
def text(request, repository):
    return (repository / request.param).read_text(encoding="utf-8").replace("\\\n", " ")


def test_what_is_copied_exists_and_is_not_ignored(text, repository):
    ignored = (repository / ".dockerignore").read_text(encoding="utf-8").splitlines()
    copied = [word for line in re.findall(r"(?m)^COPY (.+)$", text) for word in line.split()[:-1]]
    assert copied
    for name in copied:
        assert (repository / name).exists(), name
        assert name not in ignored, name


def test_the_last_user_is_not_root(text):
    users = re.findall(r"(?m)^USER (\w+)$", text)
    assert users == ["dualnet"]
    assert text.index("useradd") < text.index("USER dualnet") < text.index("ENTRYPOINT")
