"""Writes a net layer by layer, with the shape and the readers of every blob at hand."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

__all__ = ["Given", "Value", "Writer"]


#: Layers whose gradient BVLC Caffe gets wrong where a later layer computes in place of their top.
NEED_THEIR_TOP = {"LRN", "LSTM", "Power", "RNN"}
#: Layers whose top may be the memory of their bottom.
SHARE_MEMORY = {"Concat", "Flatten", "Reshape", "Slice"}
#: Layers that in BVLC Caffe write their bottom's diff although propagate_down forbids it.
IGNORE_PROPAGATE_DOWN = {"BatchNorm", "Im2col", "Scale", "Softmax"}


@dataclass
class Value:
    """A blob as the writer sees it.

    Attributes:
        name: its name.
        shape: its shape.
        readers: how many layers read it, a loss weight included, since it was last written.
        fixed: BVLC Caffe needs the values in backward, and does not notice that they changed.
        lent: its diff is its layer's own memory, or that of the layer below, from the forward pass
            on; or a layer in place will write it once more. BVLC's Flatten, which lends in the
            backward pass, cuts the tie, or has its own diff overwritten.
    """

    name: str
    shape: tuple[int, ...]
    readers: int = 0
    fixed: bool = False
    lent: bool = False


@dataclass(frozen=True)
class Given:
    """The values of an Input layer.

    Attributes:
        shape: the blob's shape.
        below: 0 for standard normal values, else integers below this number.
    """

    shape: tuple[int, ...]
    below: int = 0

    def draw(self, draw: np.random.Generator) -> np.ndarray:
        """New values, float32."""
        if self.below:
            return draw.integers(self.below, size=self.shape).astype(np.float32)
        return draw.standard_normal(self.shape).astype(np.float32)


@dataclass
class Writer:
    """The net so far.

    Attributes:
        draw: where all chance comes from.
        phase: 0 TRAIN, 1 TEST; some layers are written differently.
        force: the net has force_backward, so layers without a gradient must stay out.
        once: a layer gets a second backward pass wrong in BVLC Caffe.
    """

    draw: np.random.Generator
    phase: int
    force: bool
    once: bool = False
    pool: list[Value] = field(default_factory=list)
    inputs: dict[str, Given] = field(default_factory=dict)
    _lines: list[str] = field(default_factory=list)
    _shared: dict[tuple[object, ...], list[str]] = field(default_factory=dict)
    _count: int = 0

    @property
    def text(self) -> str:
        """The net's prototxt."""
        head = ["force_backward: true"] if self.force else []
        return "\n".join(head + self._lines) + "\n"

    # Chance

    def chance(self, probability: float) -> bool:
        """True that often."""
        return bool(self.draw.random() < probability)

    def pick(self, low: int, high: int) -> int:
        """An integer from low to high, both included."""
        return int(self.draw.integers(low, high + 1))

    def real(self, low: float, high: float) -> float:
        """A number with two digits after the point."""
        return round(float(self.draw.uniform(low, high)), 2)

    def one_of(self, options: Sequence[str]) -> str:
        """One of several words."""
        return options[self.pick(0, len(options) - 1)]

    def divisor(self, *numbers: int) -> int:
        """A common divisor of the numbers."""
        common = math.gcd(*numbers)
        return int(self.draw.choice([d for d in range(1, common + 1) if common % d == 0]))

    # Writing

    def given(self, shape: Iterable[int], below: int = 0) -> Value:
        """Adds an Input layer; its blob joins the pool only if it holds real numbers."""
        value = Value(f"in{len(self.inputs)}", tuple(shape))
        self.inputs[value.name] = Given(value.shape, below)
        dims = " ".join(f"dim: {d}" for d in value.shape)
        self._lines.append(
            f'layer {{ name: "{value.name}" type: "Input" top: "{value.name}" '
            f"input_param {{ shape {{ {dims} }} }} }}"
        )
        if not below:
            self.pool.append(value)
        return value

    def layer(
        self,
        kind: str,
        bottoms: Sequence[Value],
        shapes: Sequence[tuple[int, ...]],
        body: str = "",
        *,
        in_place: bool = False,
        keep: int | None = None,
        weighable: bool = True,
    ) -> list[Value]:
        """Adds a layer.

        Args:
            kind: its type.
            bottoms: what it reads.
            shapes: its tops' shapes.
            body: its settings.
            in_place: compute top 0 in bottom 0, where nothing else reads that.
            keep: how many tops join the pool for others to read (None: all).
            weighable: whether tops may carry a loss weight by chance.

        Returns:
            its tops.
        """
        self._count += 1
        name = f"l{self._count}"
        weights = ""
        if in_place and bottoms[0].readers == 0 and not bottoms[0].fixed:
            tops = [bottoms[0]]
            tops[0].lent = True
        else:
            fixed = kind in NEED_THEIR_TOP
            fixed |= kind in SHARE_MEMORY and any(bottom.fixed for bottom in bottoms)
            single = len(bottoms) == 1 and len(shapes) == 1
            lent = kind in ("LSTM", "RNN", "Reshape") or (kind in ("Concat", "Slice") and single)
            tops = [
                Value(f"{name}_{i}" if len(shapes) > 1 else name, s, fixed=fixed, lent=lent)
                for i, s in enumerate(shapes)
            ]
            for bottom in bottoms:
                bottom.readers += 1
            self.pool += tops[:keep]
            if weighable and self.chance(0.05):
                weights = "".join(f" loss_weight: {self.real(0.1, 2)}" for _ in tops)
                for top in tops:
                    top.readers += 1
        down = ""
        if len(bottoms) == 1 and weighable and self.chance(0.04):
            choices = ["true"] if kind in IGNORE_PROPAGATE_DOWN else ["true", "false"]
            down = f" propagate_down: {self.one_of(choices)}"
        words = "".join(f' bottom: "{b.name}"' for b in bottoms)
        words += "".join(f' top: "{t.name}"' for t in tops)
        head = f'name: "{name}" type: "{kind}"{words}{weights}{down}'
        self._lines.append(f"layer {{ {head} {body} }}")
        return tops

    def params(self, *shapes: tuple[int, ...]) -> str:
        """The `param` entries of a layer: some shared by name, some frozen, often none."""
        if self.chance(0.6):
            return ""
        entries = []
        for index, shape in enumerate(shapes):
            known = self._shared.setdefault((index, shape), [])
            if self.chance(0.3):
                entries.append(f"param {{ lr_mult: {self.one_of(['0', '0.5', '2'])} }}")
            elif known and self.chance(0.6):
                entries.append(f'param {{ name: "{self.one_of(known)}" }}')
            else:
                known.append(f"p{sum(map(len, self._shared.values()))}")
                entries.append(f'param {{ name: "{known[-1]}" }}')
        return " ".join(entries)
