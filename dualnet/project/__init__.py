"""A project of the user's own: a folder with one run's YAML, its prototxt and scripts."""

__all__ = ["PROJECT_FILE"]

#: The YAML of a project, which commands take where none is named.
PROJECT_FILE = "dualnet.yaml"
