#!/usr/bin/env python3
"""Compare dual training with PyTorch's pipeline parallelism, on the same net and the same cores.

    dualnet data cifar10 --source PATH
    scripts/bench_pipelining.py                            # both on this machine, a fast link
    sudo scripts/bench_pipelining.py --link --latency-ms 10 --gbit 1      # a slow link (netem)

By turns, each in processes of its own on the same cores:

    plain, all     plain PyTorch, one process on all cores
    GPipe, 1F1B    torch.distributed.pipelining, two stages, gloo; the best number of micro-batches
    single, all    dualnet's single net, one process on all cores
    files, tcp     dualnet's halves, overlapped; files only where both are on one machine

The plain net is dualnet/engine/bench/plain.py, cut into stages where dualnet's is cut. With --link
the two processes of a contender run in two network namespaces, joined by a pair of virtual cards
that netem delays (each way) and limits. Prints JSON lines; a table goes to stderr, and with -o to
FILE.jsonl and FILE.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from dualnet.bench.cuts import cases  # noqa: E402 (the path has to be set first)
from dualnet.bench.machine import machine  # noqa: E402
from dualnet.bench.turn import Place, run_turn  # noqa: E402

#: Namespace, card and address of each end of the link.
ENDS = (("dualnet-a", "dualnet-va", "10.231.77.1"), ("dualnet-b", "dualnet-vb", "10.231.77.2"))
PORT = 29517


def main() -> int:
    """Run all rounds; returns the exit code."""
    options = parse()
    if options.stage is not None:
        stage(json.loads(options.stage))
        return 0
    os.environ["PYTHONPATH"] = os.pathsep.join(
        filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])
    )
    allowed = sorted(os.sched_getaffinity(0))
    each = options.cores_each or len(allowed) // 2
    if not 1 <= each <= len(allowed) // 2:
        raise SystemExit(f"--cores-each {each}: there are {len(allowed)} cores for two processes")
    cores = [allowed[:each], allowed[each : 2 * each]]
    with tempfile.TemporaryDirectory() as scratch, link(options) if options.link else nullcontext():
        settings = [f"train.batch_size={options.batch}"]
        (case,) = cases(options.config, settings, [options.cut], scratch)
        contenders = contenders_of(options, case, cores)
        records = contest(options, contenders)
    head = {"bench": "peers", **machine(), "cores_each": each, "batch": options.batch,
            "cut": options.cut, "iterations": options.iterations, "rounds": options.rounds,
            "link": {"latency_ms": options.latency_ms, "gbit": options.gbit}
            if options.link else None}  # fmt: skip
    lines = "".join(json.dumps(record) + "\n" for record in [head, *records])
    sys.stdout.write(lines)
    sys.stderr.write(table(head, records))
    if options.output:
        Path(f"{options.output}.jsonl").write_text(lines)
        Path(f"{options.output}.md").write_text(table(head, records))
    return 0


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", default="configs/cifar10.yaml")
    parser.add_argument("--cut", default="pool1:conv2", metavar="BLOB:LAYER")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--iterations", type=int, default=30, help="that count in a turn")
    parser.add_argument("--warm-up", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cores-each", type=int, help="of each half or stage (default: half)")
    parser.add_argument("--micro", nargs="+", type=int, default=[2, 4, 8], metavar="N",
                        help="numbers of micro-batches to try (default: 2 4 8)")  # fmt: skip
    parser.add_argument("--staleness", nargs="+", type=int, default=[1, 2], metavar="S")
    parser.add_argument("--only", nargs="+", metavar="WORD", help="contenders that begin so")
    parser.add_argument("--link", action="store_true", help="a slow link; needs root, iproute2")
    parser.add_argument("--latency-ms", type=float, default=10.0, help="each way (default: 10)")
    parser.add_argument("--gbit", type=float, default=1.0, help="per second (default: 1)")
    parser.add_argument("-o", "--output", metavar="FILE", help="without its ending")
    parser.add_argument("--stage", help=argparse.SUPPRESS)
    return parser.parse_args()


# Contenders: each is a function that trains once and returns the time of an iteration.


def contenders_of(options: argparse.Namespace, case, cores) -> dict:
    """Name to function."""
    prefixes = [["ip", "netns", "exec", end[0]] if options.link else [] for end in ENDS]
    both = [*cores[0], *cores[1]]

    def plain() -> float:
        return torch_turn(options, "plain", 1, [both], [[]])

    def pipeline(schedule: str, micro: int):
        return lambda: torch_turn(options, schedule, micro, cores, prefixes)

    def dual(roles: dict, settings: list[str]):
        def run() -> float:
            found = run_turn(case, settings, roles, options.iterations, options.warm_up,
                             max(options.staleness) + 1)  # fmt: skip
            return max(role.iteration_s for role in found.values())

        return run

    found = {"plain, all": plain}
    for schedule in ("GPipe", "1F1B"):
        for micro in options.micro:
            # 1F1B needs as many micro-batches as stages.
            if options.batch % micro == 0 and micro >= 2:
                found[f"{schedule} {micro}"] = pipeline(schedule, micro)
    found["single, all"] = dual({"single": Place(both)}, [])
    halves = {role: Place(*place) for role, place in zip(("net1", "net2"), zip(cores, prefixes))}
    address = [f"exchange.address={ENDS[0][2]}:{PORT + 1}"] if options.link else []
    for carrier in ("tcp",) if options.link else ("files", "tcp"):
        for staleness in options.staleness:
            found[f"{carrier}, {staleness} ahead"] = dual(
                halves,
                ["train.schedule=overlapped", f"train.staleness={staleness}",
                 f"exchange.carrier={carrier}", *(address if carrier == "tcp" else [])],
            )  # fmt: skip
    if options.only:
        found = {k: v for k, v in found.items() if k.startswith(tuple(options.only))}
    return found


def contest(options: argparse.Namespace, contenders: dict) -> list[dict]:
    """Let them take turns; returns their records, best micro-batch count marked."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    names = list(contenders)
    for number in range(options.rounds):
        shift = number % len(names)
        for name in [*names[shift:], *names[:shift]]:
            times[name].append(contenders[name]())
            print(f"round {number + 1}: {name}: {times[name][-1] * 1e3:.1f} ms", file=sys.stderr)
    pipelines = [name for name in names if name.startswith(("GPipe", "1F1B"))]
    best = min(pipelines, key=lambda name: median(times[name]), default=None)
    records = []
    for name in names:
        record = {"contender": name, "iteration_ms": round(median(times[name]) * 1e3, 2),
                  "iterations_ms": [round(t * 1e3, 2) for t in times[name]],
                  "samples_per_s": round(options.batch / median(times[name]), 1)}  # fmt: skip
        for other, key in ((best, "over_best_pipeline"), ("plain, all", "over_plain")):
            if other in times:
                pairs = zip(times[other], times[name])
                record[key] = round(median(theirs / own for theirs, own in pairs), 3)
        records.append({**record, "best_pipeline": name == best})
    return records


# PyTorch's side: a process for each stage.


def torch_turn(options, schedule: str, micro: int, cores: list, prefixes: list) -> float:
    """Train with plain PyTorch, in one process or in two stages."""
    with tempfile.TemporaryDirectory() as scratch:
        processes = []
        for rank, (mine, prefix) in enumerate(zip(cores, prefixes)):
            spec = {"schedule": schedule, "micro": micro, "rank": rank, "cores": mine,
                    "batch": options.batch, "cut": options.cut.partition(":")[0],
                    "iterations": options.iterations, "warm_up": options.warm_up,
                    "card": ENDS[rank][1] if options.link else "lo",
                    "address": ENDS[0][2] if options.link else "127.0.0.1",
                    "out": f"{scratch}/{rank}"}  # fmt: skip
            threads = {f"{n}_NUM_THREADS": str(len(mine)) for n in ("OMP", "MKL", "OPENBLAS")}
            command = [*prefix, sys.executable, __file__, "--stage", json.dumps(spec)]
            processes.append(subprocess.Popen(command, env={**os.environ, **threads}))
        codes = [process.wait() for process in processes]
        if any(codes):
            raise SystemExit(f"{schedule} with {micro} micro-batches: exit codes {codes}")
        return max(float(Path(f"{scratch}/{rank}").read_text()) for rank in range(len(cores)))


def stage(spec: dict) -> None:
    """One process: train, and write the time of an iteration."""
    os.sched_setaffinity(0, spec["cores"])
    import torch
    from torch.nn import functional

    from dualnet.engine.bench import plain
    from dualnet.engine.memory import keep_freed_blocks

    keep_freed_blocks()
    torch.manual_seed(1)
    net, batch = plain.build("cifar10"), spec["batch"]
    images = torch.rand(batch, 3, 32, 32).contiguous(memory_format=torch.channels_last) - 0.5
    labels = torch.randint(10, (batch,))
    step = None
    if spec["schedule"] != "plain":
        net, step = pipelined(spec, net, images, labels)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.001, momentum=0.9, weight_decay=0.0005)

    def iterate() -> None:
        optimizer.zero_grad()
        if step is not None:
            step()
        else:
            functional.cross_entropy(net(images), labels).backward()
        optimizer.step()

    for _ in range(spec["warm_up"]):
        iterate()
    started_s = time.perf_counter()
    for _ in range(spec["iterations"]):
        iterate()
    elapsed_s = time.perf_counter() - started_s
    Path(spec["out"]).write_text(str(elapsed_s / spec["iterations"]))
    if step is not None:
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


def pipelined(spec: dict, net, images, labels):
    """This process's stage of the net, and what one training step of it is."""
    import torch
    from torch import distributed, nn
    from torch.distributed import pipelining
    from torch.nn import functional

    class Order(torch.autograd.Function):
        """(N, C, H, W) in one memory order on the way up, its gradient in one on the way down."""

        @staticmethod
        def forward(context, x, up, down):
            context.down = down
            return x.contiguous(memory_format=up)

        @staticmethod
        def backward(context, gradient):
            return gradient.contiguous(memory_format=context.down), None, None

    class Reordered(nn.Module):
        def __init__(self, up, down) -> None:
            super().__init__()
            self.orders = (up, down)

        def forward(self, x):
            return Order.apply(x, *self.orders)

    os.environ.update(MASTER_ADDR=spec["address"], MASTER_PORT=str(PORT),
                      GLOO_SOCKET_IFNAME=spec["card"], TP_SOCKET_IFNAME=spec["card"])  # fmt: skip
    distributed.init_process_group("gloo", rank=spec["rank"], world_size=2)
    names = [name for name, _ in net.named_children()]
    cut = names.index(spec["cut"]) + 1
    # What gloo sends has to be contiguous; the layers of either side work on channels-last.
    part = nn.Sequential(*net[:cut], Reordered(torch.contiguous_format, torch.channels_last))
    if spec["rank"] == 1:
        part = nn.Sequential(Reordered(torch.channels_last, torch.contiguous_format), *net[cut:])
    piece = spec["batch"] // spec["micro"]
    sample = torch.empty(piece, 3, 32, 32)
    # A stage asks for the gradients of what its examples say has one.
    crossing = net[:cut](sample).contiguous().detach().requires_grad_()
    example = (sample, crossing) if spec["rank"] == 0 else (crossing, part(crossing))
    own = pipelining.PipelineStage(
        part, spec["rank"], 2, torch.device("cpu"), input_args=example[0], output_args=example[1]
    )
    kinds = {"GPipe": pipelining.ScheduleGPipe, "1F1B": pipelining.Schedule1F1B}
    schedule = kinds[spec["schedule"]](own, spec["micro"], loss_fn=functional.cross_entropy)
    if spec["rank"] == 0:
        return part, lambda: schedule.step(images)
    return part, lambda: schedule.step(target=labels)


# The slow link.


@contextmanager
def link(options: argparse.Namespace) -> Iterator[None]:
    """Two network namespaces, joined by cards that netem delays."""
    (a, card_a, _), (b, card_b, _) = ENDS
    try:
        for name in (a, b):
            ip("netns", "add", name)
        ip("link", "add", card_a, "netns", a, "type", "veth", "peer", "name", card_b, "netns", b)
        for name, card, address in ENDS:
            ip("-n", name, "addr", "add", f"{address}/24", "dev", card)
            for one in ("lo", card):
                ip("-n", name, "link", "set", one, "up")
            ip("netns", "exec", name, "tc", "qdisc", "add", "dev", card, "root", *queue(options))
        yield
    finally:
        for name in (a, b):
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


def queue(options: argparse.Namespace) -> list[str]:
    """What a card does to packets: netem delays and limits; without a delay, tbf limits."""
    rate = ["rate", f"{options.gbit * 1000:g}mbit"]
    if not options.latency_ms:
        return ["tbf", *rate, "burst", "256kb", "latency", "100ms"]
    # What is under way must fit: the bytes of four delays, in packets of 1500 and more.
    packets = int(options.gbit * 1e9 / 8 * 4 * options.latency_ms / 1e3 / 1500) + 1000
    return ["netem", "delay", f"{options.latency_ms}ms", *rate, "limit", str(packets)]


def ip(*words: str) -> None:
    """Run iproute2's command."""
    try:
        done = subprocess.run(["ip", *words], capture_output=True, text=True)
    except FileNotFoundError:
        raise SystemExit("--link needs the commands ip and tc; install iproute2") from None
    if done.returncode:
        said = (done.stderr.strip() or "no reason given").splitlines()[0]
        if "qdisc kind is unknown" in said:
            said += ": this kernel has no netem (sch_netem); take another machine for --link"
        raise SystemExit(f"ip {' '.join(words)}: {said}")


def table(head: dict, records: list[dict]) -> str:
    """Markdown."""
    where = "one machine"
    if head["link"]:
        link = head["link"]
        where = f"a link of {link['latency_ms']:g} ms each way, {link['gbit']:g} Gbit/s"
    lines = [
        f"# Dual training and PyTorch's pipelines: batch {head['batch']}, {where}", "",
        f"{head['cores_each']} cores each, {head['rounds']} rounds of {head['iterations']} "
        f"iterations, cut {head['cut']}; load {head['load'][0]:g}. Medians; ratios within a round.",
        "", "| contender | iteration | images/s | over best pipeline | over plain, all |",
        "|---|---:|---:|---:|---:|",
    ]  # fmt: skip
    for record in records:
        name = f"**{record['contender']}**" if record["best_pipeline"] else record["contender"]
        lines.append(
            f"| {name} | {record['iteration_ms']:.1f} ms | {record['samples_per_s']:.0f} "
            f"| {record.get('over_best_pipeline', '')} | {record.get('over_plain', '')} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
