"""The step of the build that pyproject.toml cannot say: what lies beside the code goes along."""

from __future__ import annotations

import os
import sys

from setuptools import setup
from setuptools.command.build_py import build_py

# A build does not have the repository on its path. This imports none of dualnet's dependencies.
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from dualnet.shipped import FOLDER, shipped_files


class BuildPy(build_py):
    """Builds the package with configurations, prototxt and scripts in it."""

    def run(self) -> None:
        """Copy the modules, then what is shipped beside them."""
        super().run()
        if self.editable_mode:
            return  # the package is used where it is, in the repository
        for source, target in self._shipped():
            self.mkpath(os.path.dirname(target))
            self.copy_file(source, target)

    def get_source_files(self) -> list[str]:
        """What a source distribution must have."""
        return [*super().get_source_files(), *(source for source, _ in self._shipped())]

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        """What the build makes."""
        made = super().get_outputs(include_bytecode)
        if not self.editable_mode:
            made += [target for _, target in self._shipped()]
        return made

    def _shipped(self) -> list[tuple[str, str]]:
        """(file of the repository, file of the build); a build runs in the repository's root."""
        folder = os.path.join(self.build_lib, "dualnet", FOLDER)
        return [(name, os.path.join(folder, *name.split("/"))) for name in shipped_files()]


setup(cmdclass={"build_py": BuildPy})
