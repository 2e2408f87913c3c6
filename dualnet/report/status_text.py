"""A run's status as text for people."""

from __future__ import annotations

from dualnet.report.durations import in_time
from dualnet.report.run_status import LinkStatus, PieceStatus, RunStatus
from dualnet.report.waits import in_words

__all__ = ["describe"]


def describe(found: RunStatus) -> str:
    """Where the run is as a whole; then a block for each piece, with a line for each link."""
    lines = [found.run_dir]
    lines += [f"  {line}" for line in (_outlook(found), _quality(found), _waits(found)) if line]
    for piece in found.pieces.values():
        lines.append(f"  {piece.piece:6}  {piece.state}{_waiting(piece)}")
        details = [_progress(piece), _loss(piece), _process(piece)]
        details += [_link(name, link) for name, link in piece.links.items()]
        lines += [f"          {line}" for line in details if line]
    lines += [f"  problem: {problem}" for problem in found.problems]
    return "\n".join(lines) + "\n"


def _outlook(found: RunStatus) -> str:
    """How far all pieces are, and how long it will take."""
    known = [piece for piece in found.pieces.values() if piece.iteration is not None]
    if not known:
        return ""
    slowest = min(known, key=lambda piece: piece.iteration or 0)
    words = [_iterations(slowest)]
    speeds = [one.iterations_per_s for one in known if one.iterations_per_s is not None]
    if speeds:
        words.append(f"{min(speeds):.3g} iterations/s")
    if found.seconds_left is not None:
        words.append(f"{in_time(found.seconds_left)} left")
    return ", ".join(words)


def _quality(found: RunStatus) -> str:
    """The loss that counts, and the accuracy."""
    counting = found.pieces.get(found.counting)
    words = []
    if counting is not None and counting.loss is not None:
        words.append(f"loss {counting.loss:.4g} ({found.counting}'s, the one that counts)")
    if found.accuracy is not None:
        words.append(f"test accuracy {found.accuracy:.4g} at iteration {found.tested_at}")
    return ", ".join(words)


def _waits(found: RunStatus) -> str:
    return in_words({name: (one.waits_for, one.waits_s) for name, one in found.pieces.items()})


def _waiting(piece: PieceStatus) -> str:
    if not piece.waits_for:
        return ""
    awaited = f"{piece.awaited} of " if piece.awaited else ""
    return f" for {awaited}{piece.waits_for}, {piece.waits_s:.0f} s"


def _iterations(piece: PieceStatus) -> str:
    words = f"iteration {piece.iteration}"
    return words if piece.max_iter is None else f"{words}/{piece.max_iter}"


def _progress(piece: PieceStatus) -> str:
    words = [] if piece.iteration is None else [_iterations(piece)]
    if piece.iterations_per_s is not None:
        words.append(f"{piece.iterations_per_s:.3g} iterations/s")
    if piece.checkpoint >= 0:
        words.append(f"checkpoint at {piece.checkpoint}")
    return ", ".join(words)


def _loss(piece: PieceStatus) -> str:
    if piece.loss is None:
        return ""
    return f"loss {piece.loss:.4g}" + (f": {piece.meaning}" if piece.meaning else "")


def _process(piece: PieceStatus) -> str:
    words = [piece.process] if piece.process else []
    if piece.heartbeat_age_s is not None:
        words.append(f"last heartbeat {in_time(piece.heartbeat_age_s)} ago")
    if piece.restarts:
        words.append(f"{piece.restarts} restart{'s' if piece.restarts > 1 else ''}")
    return ", ".join(words)


def _link(name: str, link: LinkStatus) -> str:
    if not link.sent and not link.received:
        return ""
    words = [
        f"{name}: {link.sent} messages sent ({link.bytes_sent / 1e6:.3g} MB)",
        f"{link.received} received ({link.bytes_received / 1e6:.3g} MB)",
    ]
    if link.bytes_per_iteration is not None:
        saved = link.saved_sent + link.saved_received
        less = f", {saved / 1e6:.3g} MB saved" if saved else ""
        words.append(f"{link.bytes_per_iteration / 1e6:.3g} MB an iteration{less}")
    words.append(f"{link.kept_bytes / 1e6:.3g} MB kept")
    if link.retries or link.resends:
        words.append(f"{link.retries} retries, {link.resends} resends")
    return ", ".join(words)
