"""Event files as TensorBoard reads them."""

from __future__ import annotations

import os
import struct


def points(folder):
    """Tag to {step: value} of all event files of a folder, each point once.

    The rule is that of TensorBoard's EventAccumulator: the files in the order of their names; at a
    session's start everything from its step on is dropped.

    Raises:
        AssertionError: A point is there twice all the same, or a record is damaged.
    """
    found = {}
    for name in sorted(os.listdir(folder)):
        assert "tfevents" in name  # else TensorBoard passes over it
        for event in events(os.path.join(folder, name)):
            if event.HasField("session_log"):
                for values in found.values():
                    for step in [step for step in values if step >= event.step]:
                        del values[step]
            for value in event.summary.value:
                values = found.setdefault(value.tag, {})
                assert event.step not in values, (value.tag, event.step)
                values[event.step] = value.simple_value
    return found


def events(path):
    """The events of a file; every record must be whole."""
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.record_writer import masked_crc32c

    with open(path, "rb") as file:
        content = file.read()
    place = 0
    while place < len(content):
        header = content[place : place + 8]
        (length,) = struct.unpack("<Q", header)
        data = content[place + 12 : place + 12 + length]
        sums = content[place + 8 : place + 12], content[place + 12 + length : place + 16 + length]
        assert sums == tuple(struct.pack("<I", masked_crc32c(part)) for part in (header, data))
        place += 16 + length
        yield Event.FromString(data)
    assert place == len(content)
