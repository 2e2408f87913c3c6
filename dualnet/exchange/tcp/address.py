"""Where net1 listens, and how net2 finds out.

Without `exchange.address`, net1 takes any free port and leaves a sealed record of it in the
exchange directory, one for each start. With an address, net2 needs no directory in common with net1
but the run's secret.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from typing import Any

from dualnet.errors import ConfigError, StorageFailed
from dualnet.exchange.disk.publish import Publisher
from dualnet.exchange.disk.records import BadRecord, seal, unseal
from dualnet.exchange.disk.safefile import Damaged, read_small
from dualnet.exchange.paths import ExchangePaths
from dualnet.exchange.run.host import ProcessId
from dualnet.exchange.run.manifest import Manifest
from dualnet.fs import Fs

__all__ = ["Address", "find_addresses", "listen", "parse_address", "publish_address"]

_LIMIT = 4096
# Calls that the system keeps until we take them: strangers' among them.
_BACKLOG = 1024
# A network of the documentation (RFC 5737): asking for the way there sends nothing.
_ANYWHERE = ("192.0.2.1", 9)


@dataclass(frozen=True)
class Address:
    """A host, by name or number, and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """The address that `exchange.address` names.

    Raises:
        ConfigError: it names none.
    """
    host, colon, port = text.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ConfigError(
            f"exchange.address: expected host:port with a port of 1 to 65535, got {text!r}"
        )
    return Address(host, int(port))


def listen(address: str) -> socket.socket:
    """A socket that listens at an address, "" at any free port of all interfaces.

    Raises:
        StorageFailed: nobody can listen there.
    """
    where = parse_address(address) if address else Address("", 0)
    family = socket.AF_INET6 if ":" in where.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        # A half that is started again takes the port that its predecessor has just left.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((where.host, where.port))
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise StorageFailed(
            f"net1 cannot listen at {address or 'any port'}: {error.strerror or error}; set "
            "exchange.address to an address of net1's node and a port that is free"
        ) from error
    return sock


def publish_address(
    fs: Fs, paths: ExchangePaths, manifest: Manifest, role: str, epoch: int, port: int
) -> None:
    """Leave a record of where this process listens.

    Raises:
        OSError: from the file system.
    """
    fields: dict[str, Any] = {
        "run": manifest.run_id.hex(),
        "role": role,
        "epoch": epoch,
        "boot_id": ProcessId.current().boot_id,
        "hosts": _own_names(),
        "port": port,
    }
    content = seal(manifest.key, "address", fields, _LIMIT)
    Publisher(fs, paths, role, epoch).replace(paths.address(role, epoch), content, sync=True)


def find_addresses(fs: Fs, paths: ExchangePaths, manifest: Manifest, role: str) -> list[Address]:
    """Where the latest start of `role` may be reached, best first; [] if that is not known yet."""
    try:
        # Opening the directory makes an NFS client ask the server what is in it now.
        fs.close(fs.open(paths.root, os.O_RDONLY | os.O_DIRECTORY))
        found = [paths.parse_generation(name) for name in fs.listdir(paths.root)]
        epoch = max((entry[1] for entry in found if entry and entry[0] == role), default=0)
        data = read_small(fs, paths.address(role, epoch), _LIMIT)
        fields = unseal(manifest.key, "address", data, _LIMIT)
        if (fields["run"], fields["role"]) != (manifest.run_id.hex(), role):
            return []
        hosts = [str(host) for host in fields["hosts"]]
        if fields["boot_id"] and fields["boot_id"] == ProcessId.current().boot_id:
            hosts.insert(0, "127.0.0.1")
        return [Address(host, int(fields["port"])) for host in hosts]
    except (OSError, Damaged, BadRecord, KeyError, TypeError, ValueError):
        return []


def _own_names() -> list[str]:
    """How others may reach this machine: the number that it uses towards others, and its name."""
    names = []
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect(_ANYWHERE)
            names.append(str(probe.getsockname()[0]))
    except OSError:
        pass  # no way to anywhere
    names.append(socket.gethostname())
    return names
