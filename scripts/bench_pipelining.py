#!/usr/bin/env python3
"""Compare chains of pieces with PyTorch's pipeline parallelism, on the same net and processors.

Interleaved, each in processes of its own:

    plain          plain PyTorch, one process with as much processor time as all pieces together
    GPipe, 1F1B    torch.distributed.pipelining over gloo, as many stages as pieces, with 2, 4, 8
                   micro-batches (--micro)
    single         dualnet's single net, one process, as plain
    tcp, …         dualnet's chain over a carrier (--carriers), with a target (--targets):
                   alternating, pipelined with as many micro-batches, overlapped (--staleness)

All train the CIFAR-10 net on the same random images, made here and read from an LMDB by the same
layer; the net is cut at the same blobs for all. A number of micro-batches that is much slower than
the best of its kind in the first round is not tried again.

Pieces have cores of their own, or with --quota so much processor time on any cores, which allows
more pieces than cores; it holds from the second iteration on, not while libraries load. The kernel
grants quotas to root (or in a delegated control group); where it does not, one line says so, and
the pieces share the cores with a thread each.

With --link the two processes of each method run in two network namespaces
(dualnet/bench/network/link.py). A packet is under way for --latency-ms, in each direction: a round
trip takes twice as long. The kernel delays where it has netem; else a process does, which takes
some processor time from what is measured: the output says how much. Before the comparison a plain
TCP socket measures the link.

Prints raw JSON lines, one for each training; progress goes to stderr. With -o NAME the lines are
appended to NAME.jsonl as they come, and NAME.md and NAME.png are written from all that are there.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from dualnet.bench.cuts import cases, parse_chain, spelled  # noqa: E402 (the path comes first)
from dualnet.bench.machine import machine  # noqa: E402
from dualnet.bench.network.link import KINDS, slow_link  # noqa: E402
from dualnet.bench.network.link_check import check  # noqa: E402
from dualnet.bench.peers.arena import arena  # noqa: E402
from dualnet.bench.peers.input import make_input  # noqa: E402
from dualnet.bench.peers.methods import CONFIG, Wanted, methods  # noqa: E402
from dualnet.bench.peers.rounds import Entry, rounds  # noqa: E402
from dualnet.bench.peers.summary import link_line, page  # noqa: E402
from dualnet.bench.quota import quotas  # noqa: E402
from dualnet.config.exchange import CARRIERS  # noqa: E402
from dualnet.config.targets import TARGETS  # noqa: E402
from dualnet.errors import DualnetError, UsageError  # noqa: E402
from dualnet.strict_json import to_json  # noqa: E402

EXAMPLES = """\
examples:
  scripts/bench_pipelining.py --short                    a minute: does everything work here?
  scripts/bench_pipelining.py -o results/bench/chain     two pieces, half of the cores each
  sudo scripts/bench_pipelining.py --pieces 2 3 4 --quota 0.4 -o results/bench/chain
  sudo scripts/bench_pipelining.py --link --latency-ms 10 --gbit 1 -o results/bench/chain
  scripts/bench_pipelining.py --cut pool2:conv3 --only plain 1F1B "tcp, backprop"
  scripts/bench_pipelining.py --page -o results/bench/chain      the page and the figure again
"""
#: Where the net is cut for a number of pieces.
CUTS = ("pool1:conv2", "pool2:conv3", "relu3:conv4")
#: Of the check of the link.
PORT = 29519
#: What --short changes.
SHORT = {"batch": 32, "iterations": 2, "warm_up": 1, "rounds": 1, "micro": [4]}


def main() -> int:
    """Run all rounds; returns the exit code."""
    options = parse()
    os.environ["PYTHONPATH"] = os.pathsep.join(
        filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])
    )
    output = Path(options.output).resolve() if options.output else None
    try:
        if not options.page:
            measure(options, output)
    except DualnetError as error:
        raise SystemExit(str(error)) from None
    if output:
        write_page(output)
    return 0


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    where = parser.add_argument_group("where")
    where.add_argument("--pieces", nargs="+", type=int, default=[2], metavar="K",
                       choices=range(2, len(CUTS) + 2),
                       help=f"chains to measure, of 2 to 4 pieces, cut at the first of "
                            f"{' '.join(CUTS)} (default: 2)")  # fmt: skip
    where.add_argument("--cut", nargs="+", metavar="BLOB:LAYER", dest="chains",
                       help="chains to measure instead, as pool1:conv2+pool2:conv3 for three "
                            "pieces")  # fmt: skip
    where.add_argument("--cores-each", type=int, help="cores of each piece (default: equal shares)")
    where.add_argument("--quota", type=float, metavar="Q",
                       help="processor time of each piece, in seconds a second (0.4), by a control "
                            "group; one process with all of it gets K times as much")  # fmt: skip
    where.add_argument("--link", nargs="?", const="auto", choices=KINDS,
                       help="a slow link between two pieces, by the kernel's netem, or else by tun "
                            "cards and a process; needs root and iproute2")  # fmt: skip
    where.add_argument("--latency-ms", type=float, default=10.0, help="each way (default: 10)")
    where.add_argument("--gbit", type=float, default=1.0, help="per second (default: 1)")
    who = parser.add_argument_group("who")
    who.add_argument("--micro", nargs="+", type=int, default=[2, 4, 8], metavar="M",
                     help="numbers of micro-batches to try (default: 2 4 8)")  # fmt: skip
    who.add_argument("--staleness", nargs="*", type=int, default=[1], metavar="S",
                     help="overlapped: values of train.staleness (default: 1)")  # fmt: skip
    who.add_argument("--targets", nargs="+", default=["backprop", "gradient"], metavar="T",
                     choices=TARGETS,
                     help="dualnet's targets; backprop sends what a pipeline sends, and has no "
                          "dual layer (default: backprop gradient)")  # fmt: skip
    who.add_argument("--carriers", nargs="+", default=["tcp"], metavar="C", choices=CARRIERS,
                     help=f"dualnet's carriers: {', '.join(CARRIERS)} (default: tcp)")  # fmt: skip
    who.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", dest="settings",
                     help="for dualnet, as exchange.digest=blake3")  # fmt: skip
    who.add_argument("--only", nargs="+", default=[], metavar="WORD",
                     help="only methods whose name starts with one of these")  # fmt: skip
    much = parser.add_argument_group("how much")
    much.add_argument("--batch", type=int, default=256, help="images (default: 256)")
    much.add_argument("--iterations", type=int, default=20,
                      help="iterations timed in each training (default: 20)")  # fmt: skip
    much.add_argument("--warm-up", type=int, default=5,
                      help="iterations before them, not timed (default: 5)")  # fmt: skip
    much.add_argument("--rounds", type=int, default=3,
                      help="trainings with each method (default: 3)")  # fmt: skip
    much.add_argument("--short", action="store_true", help="a smoke test: "
                      + ", ".join(f"{key} {value}" for key, value in SHORT.items()))  # fmt: skip
    parser.add_argument("-o", "--output", metavar="NAME", help="of the files, without an ending")
    parser.add_argument("--page", action="store_true", help="measure nothing, write the page")
    options = parser.parse_args()
    if options.page and not options.output:
        parser.error("--page: -o NAME says of which file")
    if options.short:
        vars(options).update(SHORT)
    least = min([options.batch, options.iterations, options.warm_up, options.rounds,
                 *options.staleness])  # fmt: skip
    if least < 1 or min(options.micro) < 2:
        parser.error("--batch, --iterations, --warm-up, --rounds and --staleness have to be 1 or "
                     "more, --micro 2 or more")  # fmt: skip
    return options


def measure(options: argparse.Namespace, output: Path | None) -> None:
    """Run all rounds, and print and keep a raw line of each training."""
    wanted = Wanted(
        options.batch, options.iterations, options.warm_up, options.micro, options.staleness,
        options.targets, options.carriers, options.settings, options.only,
    )  # fmt: skip
    chains = options.chains or ["+".join(CUTS[: count - 1]) for count in options.pieces]
    with ExitStack() as stack:
        groups = link = None
        if options.quota is not None:
            try:
                groups = stack.enter_context(quotas())
            except UsageError as error:
                say(f"{error}; the pieces share the cores instead, with a thread each")
        if options.link:
            link = stack.enter_context(slow_link(options.latency_ms, options.gbit, options.link))
        facts = {"bench": "chain", **run_facts(options), "link": None,
                 "quota_by": groups.how if groups else None}  # fmt: skip
        arenas = [
            arena(spelled(parse_chain(chain)), options.cores_each, options.quota, groups, link)
            for chain in chains
        ]
        if link is not None:
            facts["link"] = check(link, PORT)
            say(link_line(facts["link"]))
        scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="dualnet-peers-"))
        given = make_input(scratch, options.batch)
        before = os.getcwd()
        os.chdir(scratch)  # where the nets find these data
        stack.callback(os.chdir, before)
        settings = [f"train.batch_size={options.batch}"]
        entries: list[Entry] = []
        for place, case in zip(arenas, cases(str(ROOT / CONFIG), settings, chains, "nets")):
            found = methods(wanted, place, case, given)
            if not found:
                raise UsageError(f"--only {' '.join(options.only)}: no method's name begins so")
            entries.append(({**facts, **place.facts}, found, link))
        for line in rounds(entries, options.rounds, say):
            text = to_json(line) + "\n"
            sys.stdout.write(text)
            sys.stdout.flush()
            if output:
                with open(f"{output}.jsonl", "a", encoding="utf-8") as file:
                    file.write(text)


def say(line: str) -> None:
    """Progress, on standard error."""
    print(line, file=sys.stderr, flush=True)


def run_facts(options: argparse.Namespace) -> dict[str, Any]:
    """What all raw lines of this run say; their `run` distinguishes them from other runs'."""
    git = ["git", "-C", str(ROOT)]
    commit = subprocess.run(
        [*git, "describe", "--always", "--dirty"], capture_output=True, text=True
    )
    return {
        "run": datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ"),
        "command": shlex.join(["scripts/bench_pipelining.py", *sys.argv[1:]]),
        "commit": commit.stdout.strip() or None, **machine(),
        **{name: version(name) for name in ("torch", "numpy")},
        "batch": options.batch, "iterations": options.iterations, "warm_up": options.warm_up,
    }  # fmt: skip


def write_page(output: Path) -> None:
    """Write NAME.md and NAME.png from NAME.jsonl."""
    raw = Path(f"{output}.jsonl")
    try:
        lines = [json.loads(line) for line in raw.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise SystemExit(f"{raw}: {error}") from None
    figure = f"{output.name}.png"
    Path(f"{output}.md").write_text(page(lines, raw.name, figure), encoding="utf-8")
    plot = [sys.executable, str(ROOT / "scripts" / "plot_throughput.py"), str(raw)]
    done = subprocess.run([*plot, "-o", f"{output}.png"], capture_output=True, text=True)
    if done.returncode:
        say(f"no figure: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}")


if __name__ == "__main__":
    sys.exit(main())
