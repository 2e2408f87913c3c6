"""The `dualnet` command."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
from typing import Any, Optional

from dualnet import __version__, config
from dualnet.errors import DualnetError, UsageError
from dualnet.train.stopping import STOP_SIGNALS, Stopped, Stopper

__all__ = ["main"]

EXAMPLES = """examples:
  dualnet data digits                        write the digits data set to data/digits
  dualnet train configs/digits.yaml          train both halves on this machine
  dualnet net1 configs/cifar10.yaml --run-dir runs/a     one half here, and on the other node:
  dualnet net2 configs/cifar10.yaml --run-dir runs/a
  dualnet single configs/cifar10.yaml --set train.max_iter=500
  dualnet status runs/a --watch              what both halves are doing
  dualnet evaluate runs/a                    {"accuracy": ..., "loss": ..., "samples": ...}
  dualnet plot runs/a runs/b -o losses.png
"""


def _terminate(number: int, frame: Any) -> None:
    # As an exception it lets a half tell its partner, and `train` end its halves.
    raise Stopped(number)


def main(arguments: Optional[list[str]] = None) -> int:
    """Run one command; returns the exit code, see dualnet/errors.py."""
    words = sys.argv[1:] if arguments is None else arguments
    if words[:1] == ["caffe"]:
        return _caffe(words[1:])  # its flags are gflags', with one dash or two
    options = _parser().parse_args(words)
    if threading.current_thread() is threading.main_thread():
        for number in STOP_SIGNALS:
            signal.signal(number, _terminate)
    try:
        options.run(options)
    except DualnetError as error:
        _say(f"dualnet: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        _say("dualnet: interrupted")
        return 128 + signal.SIGINT
    except Stopped as error:
        _say(f"dualnet: {error}")
        return error.exit_code
    except BrokenPipeError:
        # `dualnet status | head`: nobody reads on, which is no error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        # The engine and its layers raise their own one-line errors; it cannot know ours.
        from dualnet.engine.errors import CaffeError

        if not isinstance(error, CaffeError):
            raise
        _say(f"dualnet: {error}")
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dualnet",
        description="Train a convolutional network in two halves on two nodes.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"dualnet {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(name: str, run: Any, summary: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=summary, description=summary)
        command.set_defaults(run=run)
        return command

    for name, run, summary in (
        ("single", _single, "train the uncut net, the control of every dual run"),
        ("train", _train, "train net1 and net2 as two processes on this machine"),
        ("net1", _half, "train the lower half; net2 is started elsewhere"),
        ("net2", _half, "train the upper half; net1 is started elsewhere"),
    ):
        command = add(name, run, summary)
        command.set_defaults(role=name)
        command.add_argument("config", metavar="CONFIG", help="YAML file, as configs/digits.yaml")
        command.add_argument(
            "--run-dir", required=name in ("net1", "net2"), metavar="DIR",
            help="directory of the run, shared by both halves (default: runs/NAME-TIME)",
        )  # fmt: skip
        _add_overrides(command)
        if name == "single":
            command.add_argument(
                "--resume", action="store_true",
                help="fail if the run has no snapshot to continue from",
            )  # fmt: skip
        if name == "train":
            command.add_argument(
                "--restarts", type=int, default=0, metavar="N",
                help="start a half that died again, N times at most (default: 0)",
            )  # fmt: skip
    command = add("evaluate", _evaluate, "print a run's accuracy on its test set as one JSON line")
    command.add_argument("run_dir", metavar="RUN_DIR")
    command.add_argument("--iteration", type=int, help="a snapshot's iteration (default: latest)")
    command.add_argument("--batches", type=int, help="test batches (default: the test_iter)")
    command = add("status", _status, "say what a run is doing, whatever state it is in")
    command.add_argument("run_dir", metavar="RUN_DIR")
    command.add_argument("--json", action="store_true", help="as one JSON line")
    command.add_argument("--watch", action="store_true", help="again every 2 s, until Ctrl-C")
    command = add("digest", _digest, "print the SHA-256 over a run's weights and solver history")
    command.add_argument("run_dir", metavar="RUN_DIR")
    command.add_argument("--iteration", type=int, help="a snapshot's iteration (default: latest)")
    command = add("plot", _plot, "draw the loss curves and test accuracy of runs")
    command.add_argument("run_dirs", nargs="+", metavar="RUN_DIR")
    command.add_argument("-o", "--output", required=True, metavar="FILE", help="PNG, SVG or PDF")
    command.add_argument(
        "--series", action="append", default=[], metavar="NAME",
        help="draw a further series of the logs, as conv3_norm or net1:conv3_norm; repeatable",
    )  # fmt: skip
    command.add_argument("--smooth", type=int, metavar="N", help="moving average over N points")
    command.add_argument("--log", action="store_true", help="logarithmic losses")
    command.add_argument("--title")
    command = add("init", _init, "write the weights that nets begin with, one caffemodel a net")
    command.add_argument("config", metavar="CONFIG")
    command.add_argument("roles", nargs="+", choices=("single", "net1", "net2"), metavar="ROLE")
    command.add_argument("-o", "--output", required=True, metavar="DIR")
    _add_overrides(command)
    command = add("data", _data, "write a data set as Caffe's LMDB and mean image")
    command.add_argument("name", metavar="NAME", help="digits or cifar10")
    command.add_argument("--source", metavar="PATH", help="folder or archive to read it from")
    command.add_argument("-o", "--output", metavar="DIR", help="default: data/NAME")
    command.add_argument("--force", action="store_true", help="replace what is there")
    bench = add("bench", None, "measure this machine; prints JSON lines")
    benches = bench.add_subparsers(metavar="WHAT", required=True)
    _add_bench_engine(benches)
    add(
        "caffe",
        None,
        "Caffe's own command, on the engine: train, test, time",
    )
    add("doctor", _doctor, "say what this machine has for dualnet, and what it lacks")
    return parser


def _add_bench_engine(benches: Any) -> None:
    summary = "time training steps of the engine, plain PyTorch and, where there is one, BVLC Caffe"
    command = benches.add_parser(
        "engine", help=summary, description=summary,
        epilog="BVLC Caffe takes part where DUALNET_BVLC_PYTHON names an interpreter that has it.",
    )  # fmt: skip
    command.set_defaults(run=_bench_engine)
    command.add_argument(
        "--net", choices=("cifar10", "caffenet", "both"), default="both",
        help="cifar10: the single net at batch 256; caffenet: CaffeNet at batch 16 (default: both)",
    )  # fmt: skip
    command.add_argument("--threads", type=int, help="of each contender (default: all cores)")
    command.add_argument("--repeats", type=int, default=10, help="rounds (default: 10)")
    command.add_argument(
        "--seconds", type=float, default=2.0, help="a contender's turn in a round (default: 2)"
    )
    command.add_argument(
        "--layers", type=int, default=0, metavar="STEPS", help="time single layers, too"
    )


def _add_overrides(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides",
        help="override a key of the config, as train.max_iter=100; may be repeated",
    )  # fmt: skip


def _load(options: argparse.Namespace) -> config.Config:
    """The run's config, with its provider settled before Caffe is imported."""
    loaded = config.load(options.config, options.overrides)
    _use_provider(loaded)
    return loaded


def _use_provider(loaded: config.Config) -> None:
    """A config that names a provider beats the environment."""
    # Caffe's own lines would come beside ours, by the thousand; 2 keeps its errors.
    os.environ.setdefault("GLOG_minloglevel", "2")
    if loaded.caffe != "auto":
        os.environ["DUALNET_CAFFE"] = loaded.caffe


def _pin(half: config.Half) -> None:
    """Numbers of threads are read by OpenMP and OpenBLAS when they are loaded."""
    threads = half.threads or len(os.sched_getaffinity(0))
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)


def _run_dir(options: argparse.Namespace, loaded: config.Config) -> str:
    return options.run_dir or config.default_run_dir(loaded, time.strftime("%Y%m%d-%H%M%S"))


def _single(options: argparse.Namespace) -> None:
    loaded = _load(options)
    _pin(loaded.single)
    run_dir = _run_dir(options, loaded)
    with Stopper(loaded.train.stop_within_s) as stopper:
        with stopper.held():  # an import that is cut in two fails in strange ways
            from dualnet.train.progress import follow
            from dualnet.train.run import train_single
        session = train_single(loaded, run_dir, options.resume, follow, stopper)
    if session is None:
        _say(f"single is complete already; {run_dir}")
        return
    _say(f"trained single to iteration {session.iteration}{_accuracy(session)}; {run_dir}")


def _half(options: argparse.Namespace) -> None:
    loaded = _load(options)
    _pin(loaded.half(options.role))
    with Stopper(loaded.train.stop_within_s) as stopper:
        with stopper.held():  # an import that is cut in two fails in strange ways
            from dualnet.train.progress import follow
            from dualnet.train.run import train_half
        session = train_half(loaded, options.role, options.run_dir, follow, stopper)
    if session is None:
        _say(f"{options.role} is complete already; {options.run_dir}")
        return
    _say(f"trained {options.role} to iteration {session.iteration}{_accuracy(session)}")


def _accuracy(session: Any) -> str:
    accuracy = session.test_outputs.get("accuracy")
    return "" if accuracy is None else f", test accuracy {accuracy:.4f}"


def _train(options: argparse.Namespace) -> None:
    loaded = _load(options)
    from dualnet.train.launch import launch
    from dualnet.train.progress import LogWatcher
    from dualnet.train.resolve import resolve
    from dualnet.train.run import claim, log_path

    run_dir = _run_dir(options, loaded)
    resolved = [resolve(loaded, role, run_dir) for role in ("net1", "net2")]
    for one in resolved:
        claim(loaded, run_dir, one)
    can_go_on = all(one.solver.snapshot > 0 for one in resolved)
    if options.restarts and not can_go_on:
        raise UsageError(
            f"--restarts {options.restarts}: without checkpoints no half can be started again; set "
            "train.snapshot"
        )
    watcher = LogWatcher(
        {role: log_path(run_dir, role) for role in ("net1", "net2")}, resolved[0].solver.max_iter
    )
    arguments = [options.config, "--run-dir", run_dir]
    for override in options.overrides:
        arguments += ["--set", override]
    _say(f"training net1 and net2 in {run_dir}")
    try:
        with Stopper(loaded.train.stop_within_s) as stopper:
            stopper.is_patient = can_go_on
            launch(run_dir, arguments, watcher.look, restarts=options.restarts, stopper=stopper)
    finally:
        watcher.close()
    _say(f"trained both halves; see dualnet evaluate {run_dir}, dualnet plot {run_dir} -o FILE.png")


def _evaluate(options: argparse.Namespace) -> None:
    loaded = config.load_run(options.run_dir)
    _use_provider(loaded)
    from dualnet.train.evaluate import evaluate
    from dualnet.train.progress import ProgressBar

    bar: list[ProgressBar] = []

    def progress(done: int, total: int) -> None:
        if not bar:
            bar.append(ProgressBar(total))
        bar[0].update(done, {})

    result = evaluate(options.run_dir, loaded, options.iteration, options.batches, progress)
    bar[0].close()
    print(json.dumps(result))


def _status(options: argparse.Namespace) -> None:
    from dualnet.report.status import describe, status

    while True:
        found = status(options.run_dir)
        text = json.dumps(found.to_dict()) + "\n" if options.json else describe(found)
        if options.watch and not options.json and sys.stdout.isatty():
            text = f"\033[H\033[J{text}"  # the same place on the screen
        sys.stdout.write(text)
        sys.stdout.flush()
        if not options.watch:
            return
        time.sleep(2.0)


def _digest(options: argparse.Namespace) -> None:
    _use_provider(config.load_run(options.run_dir))
    from dualnet.train.digest import digest

    print(digest(options.run_dir, options.iteration))


def _plot(options: argparse.Namespace) -> None:
    from dualnet.report.plot import plot_runs

    plot_runs(
        options.run_dirs,
        options.output,
        smooth=options.smooth,
        log_scale=options.log or None,
        series=options.series,
        title=options.title,
    )
    _say(f"wrote {options.output}")


def _init(options: argparse.Namespace) -> None:
    loaded = _load(options)
    from dualnet.train.initial import save_initial_weights

    for path in save_initial_weights(loaded, options.roles, options.output):
        print(path)


def _data(options: argparse.Namespace) -> None:
    from dualnet.data.sets import DATA_SETS, prepare

    if options.name not in DATA_SETS:
        raise UsageError(f"no data set {options.name}; there are {', '.join(DATA_SETS)}")
    summary = prepare(
        options.name, options.source, options.output, options.force, progress=True, log=_say
    )
    print(json.dumps(summary))


def _bench_engine(options: argparse.Namespace) -> None:
    from dualnet.bench import bench_engine

    for record in bench_engine(
        options.net, options.threads, options.repeats, options.seconds, options.layers
    ):
        print(json.dumps(record), flush=True)


def _caffe(words: list[str]) -> int:
    """`caffe train|test|time|device_query …` for scripts that call it."""
    from dualnet import engine

    engine.register()
    from dualnet.engine import caffe_command

    return caffe_command.main(words)


def _doctor(options: argparse.Namespace) -> None:
    from dualnet.doctor import examine

    sys.stdout.write(examine())


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
