"""One process of a timed run: `python -m dualnet.bench.schedules.child SPEC`.

SPEC is JSON: config, overrides, piece, run_dir, cores, group, out. It trains as `dualnet net K` or
`single` would, and notes after each iteration the time, the processor time and what the exchange
has taken so far; the file `out` gets these rows. After the first iteration it
joins the control group, if one is named.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

__all__ = ["main"]


def main(spec: dict[str, Any]) -> None:
    """Train to the end, then write the rows."""
    # Before libraries are loaded, which count the cores.
    os.sched_setaffinity(0, spec["cores"])
    from dualnet import config as cfg
    from dualnet.bench.quota import join
    from dualnet.errors import DualnetError
    from dualnet.rundir import RunDir
    from dualnet.training.start.run import train_piece

    rows: list[dict[str, float]] = []

    def watch(session: Any) -> None:
        def note(done: int) -> None:
            row = {"time_s": time.monotonic(), "cpu_s": time.process_time()}
            counters = session.links.counters
            row.update(wait_s=counters.wait_s, exchange_s=counters.exchange_s,
                       bytes=counters.bytes_sent)  # fmt: skip
            rows.append(row)
            if len(rows) == 1 and spec["group"]:
                join(spec["group"])

        session.on_progress = note

    config, run = cfg.load(spec["config"], spec["overrides"]), RunDir(spec["run_dir"])
    try:
        session = train_piece(config, run.piece(spec["piece"]), progress=watch)
    except DualnetError as error:
        sys.stderr.write(f"dualnet: {error}\n")
        sys.exit(error.exit_code)
    resolved = session.nets.resolved if session is not None else None
    batch = resolved.batch_size * resolved.iter_size if resolved is not None else 0
    with open(spec["out"], "w", encoding="utf-8") as file:
        json.dump({"rows": rows, "batch": batch}, file)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
