"""What is compared: PyTorch's pipelines, dualnet's schedules, and one process with all cores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import product

from dualnet.bench.cuts import Case
from dualnet.bench.network.link import ENDS
from dualnet.bench.peers.arena import Arena
from dualnet.bench.peers.input import Input
from dualnet.bench.peers.pipeline import Timed, pipeline
from dualnet.bench.schedules.timed_run import Place, timed_run

__all__ = ["CONFIG", "Method", "Wanted", "methods"]

#: A chain's net; Case cuts it.
CONFIG = "configs/cifar10.yaml"
#: On a link: of the links of the chain.
_PORT = 29518


@dataclass(frozen=True)
class Wanted:
    """What is measured.

    Attributes:
        batch: Images of a batch.
        iterations: How many are measured, of a training.
        warm_up: How many before them.
        micro: Numbers of micro-batches to try.
        staleness: Of overlapped chains.
        targets: Of dualnet's chains.
        carriers: Of dualnet's chains.
        settings: For dualnet, as `--set` takes them.
        only: Beginnings of names; empty: all.
    """

    batch: int = 256
    iterations: int = 30
    warm_up: int = 5
    micro: Sequence[int] = (2, 4, 8)
    staleness: Sequence[int] = (1,)
    targets: Sequence[str] = ("backprop", "gradient")
    carriers: Sequence[str] = ("tcp",)
    settings: Sequence[str] = ()
    only: Sequence[str] = field(default=())


@dataclass(frozen=True)
class Method:
    """One of the ways to train that are compared.

    Attributes:
        train: Trains once.
        iterations: All of a training, those included that are not timed.
        family: Methods of one family differ in the number of micro-batches.
    """

    train: Callable[[], Timed]
    iterations: int
    family: str


def methods(wanted: Wanted, arena: Arena, case: Case, given: Input) -> dict[str, Method]:
    """Methods by name: `plain`, `GPipe 4`, `single`, `tcp, backprop, pipelined 4` and so on."""
    counted = wanted.warm_up + wanted.iterations
    found: dict[str, Method] = {}

    def peer(name: str, schedule: str, micro: int) -> None:
        def train() -> Timed:
            return pipeline(
                arena, schedule, micro, wanted.batch, given, wanted.iterations, wanted.warm_up
            )

        found[name] = Method(train, counted, schedule)

    def dual(
        name: str, family: str, places: dict[str, Place], settings: Sequence[str], tail: int
    ) -> None:
        def train() -> Timed:
            timed = timed_run(
                case, [*settings, *wanted.settings], places, wanted.iterations, wanted.warm_up, tail
            ).values()
            return Timed(max(one.iteration_s for one in timed), [one.cpu_s for one in timed])

        found[name] = Method(train, counted + tail, family)

    peer("plain", "plain", 1)
    parts = [micro for micro in wanted.micro if wanted.batch % micro == 0]
    for schedule, micro in product(("GPipe", "1F1B"), parts):
        # 1F1B needs as many micro-batches as stages.
        if schedule == "GPipe" or micro >= len(arena.places):
            peer(f"{schedule} {micro}", schedule, micro)
    dual("single", "single", {"single": arena.whole}, [], 1)
    places = {f"net{number + 1}": place for number, place in enumerate(arena.places)}
    for carrier, target in product(wanted.carriers, wanted.targets):
        rule = [f"exchange.carrier={carrier}", f"coupling.target={target}"]
        if arena.link and carrier != "files":
            rule.append(f"exchange.address={ENDS[0].address}:{_PORT}")
        of = f"{carrier}, {target}"
        dual(f"{of}, alternating", f"{of}, alternating", places, rule, 1)
        for micro in parts:
            parted = ["train.schedule=pipelined", f"train.micro_batches={micro}"]
            dual(f"{of}, pipelined {micro}", f"{of}, pipelined", places, [*rule, *parted], 1)
        for staleness in wanted.staleness:
            ahead = ["train.schedule=overlapped", f"train.staleness={staleness}"]
            # Batches that are ahead of net1's answers: the last iterations have fewer.
            tail = staleness * (len(places) - 1) + 1
            name = f"{of}, overlapped {staleness}"
            dual(name, name, places, [*rule, *ahead], tail)
    if wanted.only:
        found = {k: v for k, v in found.items() if k.startswith(tuple(wanted.only))}
    return found
