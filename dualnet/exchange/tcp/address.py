"""Where the lower end of a link listens, and how the upper end finds out.

Without `exchange.address`, the lower end takes any free port and leaves a sealed record of it in
the link's folder, one for each start. With an address, the upper end needs no directory in common
with it but the run's secret.

A chain of several links has an address for each, in the order of the links, separated by commas:
"node1:29400,node2:29400" are those of net1, which net2 calls, and of net2, which net3 calls.
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
from dualnet.exchange.link import Link
from dualnet.exchange.run.host import ProcessId
from dualnet.exchange.run.lease import highest_epoch
from dualnet.exchange.run.membership import Membership

__all__ = ["Address", "address_of", "find_addresses", "listen", "parse_address", "publish_address"]

_LIMIT = 4096
# Calls that the system queues until we accept them, strangers' among them.
_BACKLOG = 1024
# Documentation address (RFC 5737). Connecting a UDP socket to it sends nothing but selects the
# outgoing interface.
_ANYWHERE = ("192.0.2.1", 9)


@dataclass(frozen=True)
class Address:
    """A host, by name or number, and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def address_of(link: Link, setting: str) -> Address | None:
    """The address of a link that `exchange.address` names, None where it is empty.

    Raises:
        ConfigError: it names none for this link, or what it names is no address.
    """
    if not setting:
        return None
    listed = [text.strip() for text in setting.split(",")]
    if link.index >= len(listed):
        raise ConfigError(
            f"exchange.address: {setting!r} names {len(listed)} address(es), and none for link "
            f"{link.name}; name one for each link, in order, separated by commas, or none at all"
        )
    return parse_address(listed[link.index])


def parse_address(text: str) -> Address:
    """An address as `exchange.address` has it.

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


def listen(piece: str, address: Address | None) -> socket.socket:
    """A socket that listens at an address, or at any free port of all interfaces.

    Raises:
        StorageFailed: nobody can listen there.
    """
    where = address or Address("", 0)
    family = socket.AF_INET6 if ":" in where.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        # A piece that is started again takes the port that its predecessor has just left.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((where.host, where.port))
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise StorageFailed(
            f"{piece} cannot listen at {address or 'any port'}: {error.strerror or error}; set "
            f"exchange.address to an address of {piece}'s node and a port that is free"
        ) from error
    return sock


def publish_address(membership: Membership, link: Link, port: int) -> None:
    """Leave a record of where this process listens.

    Raises:
        OSError: from the file system.
    """
    piece, epoch, fs = membership.piece, membership.epoch, membership.fs
    paths = membership.paths.link(link)
    fields: dict[str, Any] = {
        "run": membership.run_id,
        "piece": piece,
        "epoch": epoch,
        "boot_id": ProcessId.current().boot_id,
        "hosts": _own_names(),
        "port": port,
    }
    content = seal(membership.manifest.key, link.kind("address"), fields, _LIMIT)
    Publisher(fs, paths, piece, epoch).replace(paths.address(piece, epoch), content, sync=True)


def find_addresses(membership: Membership, link: Link) -> list[Address]:
    """Where the latest start of the lower end may be reached, best first; [] if not known yet."""
    fs, piece, paths = membership.fs, link.lower, membership.paths.link(link)
    try:
        epoch = highest_epoch(fs, membership.paths, piece)
        # Opening the folder makes an NFS client ask the server what is in it now.
        fs.close(fs.open(paths.root, os.O_RDONLY | os.O_DIRECTORY))
        data = read_small(fs, paths.address(piece, epoch), _LIMIT)
        fields = unseal(membership.manifest.key, link.kind("address"), data, _LIMIT)
        if (fields["run"], fields["piece"]) != (membership.run_id, piece):
            return []
        hosts = [str(host) for host in fields["hosts"]]
        if fields["boot_id"] and fields["boot_id"] == ProcessId.current().boot_id:
            hosts.insert(0, "127.0.0.1")
        return [Address(host, int(fields["port"])) for host in hosts]
    except (OSError, Damaged, BadRecord, KeyError, TypeError, ValueError):
        return []


def _own_names() -> list[str]:
    """How others may reach this machine: the address of its outgoing interface, and its name."""
    names = []
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect(_ANYWHERE)
            names.append(str(probe.getsockname()[0]))
    except OSError:
        pass  # no network
    names.append(socket.gethostname())
    return names
