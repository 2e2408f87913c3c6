from tests.workdir import digits_directory, dualnet, workdir  # noqa: F401
