"""A run's status as text for people."""

from __future__ import annotations

from dualnet.report.status import LinkStatus, PieceStatus, RunStatus

__all__ = ["describe"]


def describe(found: RunStatus) -> str:
    """A block of lines for each piece, and one for each of its links."""
    lines = [found.run_dir]
    for piece in found.pieces.values():
        lines.append(f"  {piece.piece:6}  {piece.state}{_waiting(piece)}")
        details = [_progress(piece), _process(piece)]
        details += [_link(name, link) for name, link in piece.links.items()]
        lines += [f"          {line}" for line in details if line]
    lines += [f"  problem: {problem}" for problem in found.problems]
    return "\n".join(lines) + "\n"


def _waiting(piece: PieceStatus) -> str:
    if not piece.waits_for:
        return ""
    awaited = f"{piece.awaited} of " if piece.awaited else ""
    return f" for {awaited}{piece.waits_for}, {piece.waits_s:.0f} s"


def _progress(piece: PieceStatus) -> str:
    words = [] if piece.iteration is None else [f"iteration {piece.iteration}"]
    if words and piece.max_iter is not None:
        words[0] += f"/{piece.max_iter}"
    if piece.iterations_per_s is not None:
        words.append(f"{piece.iterations_per_s:.3g} iterations/s")
    if piece.loss is not None:
        words.append(f"loss {piece.loss:.4g}")
    if piece.checkpoint >= 0:
        words.append(f"checkpoint at {piece.checkpoint}")
    return ", ".join(words)


def _process(piece: PieceStatus) -> str:
    words = [piece.process] if piece.process else []
    if piece.heartbeat_age_s is not None:
        words.append(f"last heartbeat {piece.heartbeat_age_s:.0f} s ago")
    if piece.restarts:
        words.append(f"{piece.restarts} restarts")
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
