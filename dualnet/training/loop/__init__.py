"""The training loop: what a piece does in an iteration, and in which order."""
