"""Measurements of a running training: liveness, fidelity, convergence, the status file."""
