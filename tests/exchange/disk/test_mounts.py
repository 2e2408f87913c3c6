"""Which file systems are treated with policy."""

from __future__ import annotations

import logging

import pytest

from dualnet.errors import ConfigError
from dualnet.exchange.disk.mounts import find_mount, policy_for
from dualnet.exchange.settings import ExchangeSettings

MOUNTS = """\
/dev/vda / ext4 rw,relatime 0 0
server:/home /home nfs4 rw,vers=4.2,hard 0 0
server:/old /old nfs rw,vers=3,soft,nolock 0 0
server:/bad /bad nfs4 rw,nocto 0 0
tmpfs /home/fast tmpfs rw 0 0
scratch /my\\040scratch lustre rw 0 0
"""


@pytest.mark.parametrize(
    "path, kind",
    [
        ("/", "ext4"),
        ("/tmp/x", "ext4"),
        ("/home", "nfs4"),
        ("/home/me/run", "nfs4"),
        ("/homely", "ext4"),
        ("/home/fast/x", "tmpfs"),
        ("/my scratch/run", "lustre"),
    ],
)
def test_find_mount(path: str, kind: str) -> None:
    mount = find_mount(path, MOUNTS)
    assert mount is not None and mount.kind == kind


def test_care() -> None:
    settings = ExchangeSettings()
    local, network = policy_for("/tmp", settings, MOUNTS), policy_for("/home/me", settings, MOUNTS)
    assert (local.network, local.poll_cap_s) == (False, 0.02)
    assert (network.network, network.poll_cap_s) == (True, 0.05)
    assert policy_for("/my scratch", settings, MOUNTS).network
    assert policy_for("/tmp", settings, "").network, "the unknown is treated with care"


def test_settings_win() -> None:
    forced = ExchangeSettings(filesystem="nfs", poll_cap_s=0.1)
    assert policy_for("/tmp", forced, MOUNTS).network
    assert policy_for("/tmp", forced, MOUNTS).poll_cap_s == 0.1
    assert not policy_for("/home/me", ExchangeSettings(filesystem="local"), MOUNTS).network


def test_impossible_and_doubtful_mounts(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ConfigError, match="nocto"):
        policy_for("/bad/run", ExchangeSettings(), MOUNTS)
    with caplog.at_level(logging.WARNING):
        policy_for("/old/run", ExchangeSettings(), MOUNTS)
    text = caplog.text
    assert "vers=3" in text and "soft" in text and "nolock" in text
