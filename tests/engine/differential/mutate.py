"""Damages prototxt and protobuf bytes: what people mistype, and what disks and networks do."""

from __future__ import annotations

import re

import numpy as np

__all__ = ["mutate_bytes", "mutate_text"]

#: Numbers that break things. None declares an array that is merely large.
NUMBERS = [
    "0", "1", "2", "3", "5", "7", "16", "-1", "-2", "-7", "0.5", "-0.25", "1e-30", "1e30", "-1e38",
    "inf", "-inf", "nan", "2147483647", "-2147483648", "4294967295", "4294967296",
    "9223372036854775807", "99999999999999999999", "0x10", "08", "1e400", "true",
]  # fmt: skip
WORDS = [
    "true", "false", "TRAIN", "TEST", "MAX", "AVE", "SUM", "''", '"', "{", "}", ":", "#", "[1]",
    "\x00", "é", "type", "layer", "bottom", "top", "dim", "shape", "include", "phase",
]  # fmt: skip
_TOKEN = re.compile(r'"[^"\n]*"|[\w.+-]+|\S|\s+')


def mutate_text(draw: np.random.Generator, text: str, donors: list[str]) -> str:
    """A prototxt with one to four mistakes.

    Args:
        draw: where all chance comes from.
        text: one layer a line.
        donors: other prototxt, from which words and layers are taken.
    """
    for _ in range(int(draw.integers(1, 5))):
        donor = donors[int(draw.integers(len(donors)))]
        kind = draw.random()
        if kind < 0.2:
            text = _change_lines(draw, text, donor)
        elif kind < 0.24:
            text = text[: int(draw.integers(len(text) + 1))]
        else:
            text = _change_tokens(draw, text, donor)
    return text


def _change_lines(draw: np.random.Generator, text: str, donor: str) -> str:
    lines, others = text.splitlines(), donor.splitlines()
    place = int(draw.integers(len(lines) + 1))
    kind = int(draw.integers(4))
    if kind == 0:
        del lines[place : place + 1]
    elif kind == 1:
        lines.insert(place, others[int(draw.integers(len(others)))] if others else "")
    elif kind == 2 and lines:
        lines.insert(place, lines[int(draw.integers(len(lines)))])
    elif lines:
        place %= len(lines)
        other = int(draw.integers(len(lines)))
        lines[place], lines[other] = lines[other], lines[place]
    return "\n".join(lines)


def _change_tokens(draw: np.random.Generator, text: str, donor: str) -> str:
    tokens, others = _TOKEN.findall(text), _TOKEN.findall(donor)
    if not tokens:
        return donor
    place = int(draw.integers(len(tokens)))
    kind = draw.random()
    if kind < 0.35:  # a number for a number
        numbers = [i for i, token in enumerate(tokens) if re.fullmatch(r"-?[\d.]+", token)]
        if numbers:
            place = numbers[int(draw.integers(len(numbers)))]
            tokens[place] = NUMBERS[int(draw.integers(len(NUMBERS)))]
    elif kind < 0.65:  # a string for a string: types, blobs
        strings = [i for i, token in enumerate(tokens) if token[0] == '"']
        from_others = [token for token in others + tokens if token[0] == '"']
        if strings:
            place = strings[int(draw.integers(len(strings)))]
            tokens[place] = from_others[int(draw.integers(len(from_others)))]
    elif kind < 0.72:
        tokens[place] = WORDS[int(draw.integers(len(WORDS)))]
    elif kind < 0.8:
        del tokens[place : place + int(draw.integers(1, 4))]
    elif kind < 0.87:
        tokens.insert(place, tokens[int(draw.integers(len(tokens)))])
    elif others:
        start = int(draw.integers(len(others)))
        tokens[place:place] = others[start : start + int(draw.integers(1, 12))]
    return "".join(tokens)


def mutate_bytes(draw: np.random.Generator, content: bytes) -> bytes:
    """Bytes with one to six faults: flips, cuts, repeats, and lengths that lie."""
    data = bytearray(content)
    for _ in range(int(draw.integers(1, 7))):
        if not data:
            return draw.bytes(int(draw.integers(40)))
        place, kind = int(draw.integers(len(data))), int(draw.integers(7))
        if draw.random() < 0.5:  # messages keep their structure in the first bytes
            place = int(len(data) * draw.random() ** 3)
        if kind <= 1:
            data[place] ^= 1 << int(draw.integers(8))
        elif kind == 2:
            data[place] = int(draw.choice([0, 1, 127, 128, 255, int(draw.integers(256))]))
        elif kind == 3:
            del data[place : place + int(draw.integers(1, 9))]
        elif kind == 4:
            del data[place:]
        elif kind == 5:
            size = int(draw.integers(1, 33))
            data[place:place] = data[int(draw.integers(len(data))) :][:size]
        else:
            data[place:place] = draw.bytes(int(draw.integers(1, 9)))
    return bytes(data)
