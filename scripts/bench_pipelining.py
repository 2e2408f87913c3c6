#!/usr/bin/env python3
"""Compare dual training with PyTorch's pipeline parallelism, on the same net and the same cores.

    dualnet data cifar10 --source PATH
    scripts/bench_pipelining.py                            # both on this machine, a fast link
    sudo scripts/bench_pipelining.py --link --latency-ms 10 --gbit 1      # a slow link

By turns, each in processes of its own on the same cores:

    plain, all     plain PyTorch, one process on all cores
    GPipe, 1F1B    torch.distributed.pipelining, two stages, gloo; the number of micro-batches that
                   is fastest
    single, all    dualnet's single net, one process on all cores
    files, tcp     dualnet's pieces, alternating or with net1 --staleness batches ahead, over a
                   carrier (--carriers, torch too; files only on one machine), with a target
                   (--targets)

The plain net is dualnet/engine/bench/plain.py, cut into stages where dualnet's is cut. With --link
the two processes of a contender run in two network namespaces (dualnet/bench/network/link.py). A
packet is under way for --latency-ms, in each direction: a round trip takes twice as long. The
kernel delays where it has netem; else a process does, which takes some processor time from whoever
is measured: the output says how much. Before the contest a plain TCP socket measures the link.

A number of micro-batches that is far behind the best in the first round is not tried again.

Prints JSON lines; a table goes to stderr, and with -o to FILE.jsonl and FILE.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from dualnet.bench.cuts import cases  # noqa: E402 (the path has to be set first)
from dualnet.bench.machine import machine  # noqa: E402
from dualnet.bench.network.link import ENDS, KINDS, Link, slow_link  # noqa: E402
from dualnet.bench.network.link_check import check  # noqa: E402
from dualnet.bench.schedules.timed_run import Place, timed_run  # noqa: E402
from dualnet.config.schema import CARRIERS  # noqa: E402
from dualnet.config.targets import TARGETS  # noqa: E402
from dualnet.errors import DualnetError  # noqa: E402
from dualnet.strict_json import to_json  # noqa: E402

#: Of the pipelines; dualnet's is the next, the check of the link has the one after.
PORT = 29517
#: How far behind the best pipeline of the first round a pipeline has to be, to be left out then.
HOPELESS = 1.25


def main() -> int:
    """Run all rounds; returns the exit code."""
    options = parse()
    os.environ["PYTHONPATH"] = os.pathsep.join(
        filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])
    )
    allowed = sorted(os.sched_getaffinity(0))
    each = options.cores_each or len(allowed) // 2
    if not 1 <= each <= len(allowed) // 2:
        raise SystemExit(f"--cores-each {each}: there are {len(allowed)} cores for two processes")
    cores = [allowed[:each], allowed[each : 2 * each]]
    head = {"bench": "peers", **machine(), "cores_each": each, "batch": options.batch,
            "cut": options.cut, "iterations": options.iterations, "rounds": options.rounds,
            "link": None}  # fmt: skip
    on_link = (
        slow_link(options.latency_ms, options.gbit, options.link) if options.link else nullcontext()
    )
    try:
        with tempfile.TemporaryDirectory() as scratch, on_link as link:
            if link is not None:
                head["link"] = check(link, PORT + 2)
                print(link_line(head["link"]), file=sys.stderr)
            settings = [f"train.batch_size={options.batch}"]
            (case,) = cases(options.config, settings, [options.cut], scratch)
            records = contest(options, contenders_of(options, case, cores), link)
    except DualnetError as error:
        raise SystemExit(str(error)) from None
    lines = "".join(to_json(record) + "\n" for record in [head, *records])
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
    parser.add_argument(
        "--iterations", type=int, default=30, help="iterations timed in a repetition (default: 30)"
    )
    parser.add_argument("--warm-up", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--cores-each", type=int, help="cores of each piece or stage (default: half)"
    )
    parser.add_argument("--micro", nargs="+", type=int, default=[2, 4, 8], metavar="N",
                        help="numbers of micro-batches to try (default: 2 4 8)")  # fmt: skip
    parser.add_argument(
        "--staleness",
        nargs="+",
        type=int,
        default=[0, 1, 2],
        metavar="S",
        help="batches that net1 runs ahead; 0: alternating (default: 0 1 2)",
    )
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="WORD",
        help="only variants whose name starts with one of these",
    )
    parser.add_argument(
        "--carriers",
        nargs="+",
        metavar="C",
        choices=CARRIERS,
        help="dualnet's carriers to measure (default: files tcp; over a link: tcp)",
    )
    parser.add_argument("--targets", nargs="+", default=["gradient"], metavar="T",
                        choices=TARGETS,
                        help="dualnet's targets to measure; backprop sends what a pipeline "
                             "sends, and has no dual layer (default: gradient)")  # fmt: skip
    parser.add_argument("--link", nargs="?", const="auto", choices=KINDS,
                        help="a slow link, by the kernel's netem, or else by tun cards and a "
                             "process; needs root and iproute2")  # fmt: skip
    parser.add_argument("--latency-ms", type=float, default=10.0, help="each way (default: 10)")
    parser.add_argument("--gbit", type=float, default=1.0, help="per second (default: 1)")
    parser.add_argument("-o", "--output", metavar="FILE", help="without its ending")
    return parser.parse_args()


# Contenders.


@dataclass
class Contender:
    """Who takes turns.

    Attributes:
        train: Trains once and returns the time of an iteration, in seconds.
        iterations: All that it trains in a turn, those included that do not count.
    """

    train: Callable[[], float]
    iterations: int


def contenders_of(options: argparse.Namespace, case, cores) -> dict[str, Contender]:
    """Name to contender."""
    prefixes: list[list[str]] = [[], []]
    if options.link:
        # For the carrier torch: gloo asks nobody else which card to take.
        prefixes = [[*end.prefix, "env", f"GLOO_SOCKET_IFNAME={end.card}"] for end in ENDS]
    both = [*cores[0], *cores[1]]
    counted, tail = options.warm_up + options.iterations, max(options.staleness) + 1

    def pipeline(schedule: str, micro: int, cores: list, prefixes: list) -> Contender:
        return Contender(lambda: torch_turn(options, schedule, micro, cores, prefixes), counted)

    def dual(roles: dict, settings: list[str]) -> Contender:
        def train() -> float:
            found = timed_run(case, settings, roles, options.iterations, options.warm_up, tail)
            return max(role.iteration_s for role in found.values())

        return Contender(train, counted + tail)

    found = {"plain, all": pipeline("plain", 1, [both], [[]])}
    for schedule in ("GPipe", "1F1B"):
        for micro in options.micro:
            # 1F1B needs as many micro-batches as stages.
            if options.batch % micro == 0 and micro >= 2:
                found[f"{schedule} {micro}"] = pipeline(schedule, micro, cores, prefixes)
    found["single, all"] = dual({"single": Place(both)}, [])
    halves = {role: Place(*place) for role, place in zip(("net1", "net2"), zip(cores, prefixes))}
    address = [f"exchange.address={ENDS[0].address}:{PORT + 1}"] if options.link else []
    carriers = options.carriers or (["tcp"] if options.link else ["files", "tcp"])
    for target, carrier, staleness in product(options.targets, carriers, options.staleness):
        schedule = ["train.schedule=overlapped", f"train.staleness={staleness}"]
        name = f"{staleness} ahead" if staleness else "alternating"
        of = "" if target == "gradient" else f"{target}, "
        found[f"{carrier}, {of}{name}"] = dual(
            halves,
            [*(schedule if staleness else []), f"exchange.carrier={carrier}",
             f"coupling.target={target}", *(address if carrier != "files" else [])],
        )  # fmt: skip
    if options.only:
        found = {k: v for k, v in found.items() if k.startswith(tuple(options.only))}
    return found


def contest(
    options: argparse.Namespace, contenders: dict[str, Contender], link: Link | None
) -> list[dict]:
    """Let them take turns; returns their records, best micro-batch count marked."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    carrying: dict[str, list[float]] = {name: [] for name in contenders}
    names, began_s, done = list(contenders), time.monotonic(), 0
    for number in range(options.rounds):
        shift = number % len(names)
        for place, name in enumerate([*names[shift:], *names[:shift]]):
            before = link.carried() if link else None
            times[name].append(contenders[name].train())
            after = link.carried() if link else None
            if before and after:
                carrying[name].append((after.cpu_s - before.cpu_s) / contenders[name].iterations)
            done += 1
            left = len(names) * (options.rounds - number) - place - 1
            left_s = (time.monotonic() - began_s) / done * left
            print(
                f"round {number + 1} of {options.rounds}: {name}: {times[name][-1] * 1e3:.1f} ms; "
                f"{left} turns, some {left_s:.0f} s left", file=sys.stderr, flush=True,
            )  # fmt: skip
        names = hopeful(times, names)
    best = min(filter(is_pipeline, names), key=lambda name: median(times[name]), default=None)
    records = []
    for name in contenders:
        record = {"contender": name, "iteration_ms": round(median(times[name]) * 1e3, 2),
                  "iterations_ms": [round(t * 1e3, 2) for t in times[name]],
                  "samples_per_s": round(options.batch / median(times[name]), 1)}  # fmt: skip
        if carrying[name]:
            record["link_cpu_ms"] = round(median(carrying[name]) * 1e3, 2)
        for other, key in ((best, "over_best_pipeline"), ("plain, all", "over_plain")):
            if other in times:
                pairs = zip(times[other], times[name])
                record[key] = round(median(theirs / own for theirs, own in pairs), 3)
        records.append({**record, "best_pipeline": name == best})
    return records


def hopeful(times: dict[str, list[float]], names: list[str]) -> list[str]:
    """Those of the names that the next round tries; the first round decides."""
    pipelines_s = [times[name][0] for name in names if is_pipeline(name)]
    return [
        name
        for name in names
        if not is_pipeline(name) or times[name][0] <= HOPELESS * min(pipelines_s)
    ]


def is_pipeline(name: str) -> bool:
    """Whether a contender is one of PyTorch's pipelines."""
    return name.startswith(("GPipe", "1F1B"))


def torch_turn(options, schedule: str, micro: int, cores: list, prefixes: list) -> float:
    """Train with plain PyTorch, in one process or in two stages."""
    with tempfile.TemporaryDirectory() as scratch:
        processes = []
        for rank, (mine, prefix) in enumerate(zip(cores, prefixes)):
            spec = {"schedule": schedule, "micro": micro, "rank": rank, "cores": mine,
                    "batch": options.batch, "cut": options.cut.partition(":")[0],
                    "iterations": options.iterations, "warm_up": options.warm_up,
                    "card": ENDS[rank].card if options.link else "lo",
                    "address": ENDS[0].address if options.link else "127.0.0.1", "port": PORT,
                    "out": f"{scratch}/{rank}"}  # fmt: skip
            threads = {f"{n}_NUM_THREADS": str(len(mine)) for n in ("OMP", "MKL", "OPENBLAS")}
            # Of its sockets c10d wants names, and warns that these addresses have none.
            quiet = {"TORCH_CPP_LOG_LEVEL": "ERROR"}
            module = "dualnet.engine.bench.stage"
            command = [*prefix, sys.executable, "-m", module, json.dumps(spec)]
            processes.append(subprocess.Popen(command, env={**os.environ, **threads, **quiet}))
        codes = [process.wait() for process in processes]
        if any(codes):
            raise SystemExit(f"{schedule} with {micro} micro-batches: exit codes {codes}")
        return max(float(Path(f"{scratch}/{rank}").read_text()) for rank in range(len(cores)))


# What is said.


def link_line(link: dict) -> str:
    """How the link is made, and what the check found."""
    by = f"{link['kind']} in the kernel"
    if link["kind"] == "tun":
        by = f"a process between tun cards ({link['refusal'] or 'as asked'})"
    up, down = link["mb_per_s"]
    at_once = " and ".join(f"{rate:g}" for rate in link["mb_per_s_at_once"])
    line = (
        f"Link: {link['latency_ms']:g} ms each way, {link['gbit']:g} Gbit/s, by {by}. Measured "
        f"with a TCP socket: round trip {link['rtt_ms']:g} ms; {up:g} MB/s up, {down:g} MB/s down; "
        f"at once {at_once} MB/s."
    )
    if link["cpu_share"] is not None:
        line += f" One way at the full rate takes {link['cpu_share']:.1%} of a core."
    return line + (f" DOUBTFUL: {link['doubt']}." if link["doubt"] else "")


def table(head: dict, records: list[dict]) -> str:
    """Markdown."""
    where, link_lines = "one machine", []
    # An iteration's, of the process that carries the packets.
    is_carried = any("link_cpu_ms" in record for record in records)
    if head["link"]:
        link = head["link"]
        where = f"a link of {link['latency_ms']:g} ms each way, {link['gbit']:g} Gbit/s"
        link_lines = [link_line(link), ""]
    lines = [
        f"# Dual training and PyTorch's pipelines: batch {head['batch']}, {where}", "",
        f"{head['cores_each']} cores each, {head['rounds']} rounds of {head['iterations']} "
        f"iterations, cut {head['cut']}; load {head['load'][0]:g}. Medians; ratios within a round.",
        "", *link_lines,
        "| contender | iteration | images/s | over best pipeline | over plain, all |"
        + (" link's CPU |" if is_carried else ""),
        "|---|---:|---:|---:|---:|" + ("---:|" if is_carried else ""),
    ]  # fmt: skip
    for record in records:
        name = f"**{record['contender']}**" if record["best_pipeline"] else record["contender"]
        lines.append(
            f"| {name} | {record['iteration_ms']:.1f} ms | {record['samples_per_s']:.0f} "
            f"| {record.get('over_best_pipeline', '')} | {record.get('over_plain', '')} |"
            + (f" {record['link_cpu_ms']:.1f} ms |" if is_carried else "")
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
