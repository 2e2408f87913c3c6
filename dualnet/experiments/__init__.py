"""The thesis's figures and tables, and ours, as named, repeatable experiments.

Each is one YAML file in configs/experiments/: the runs to compare, the seeds, and what to draw.
"""
