"""Packaging of dualnet. Exact versions for a repeatable setup live in requirements/."""

from setuptools import find_packages, setup

setup(
    name="dualnet",
    version="0.1.0",
    description="Train one Caffe network in pieces on nodes that exchange only activations",
    author="dualnet authors",
    license="MIT",
    python_requires=">=3.9",
    packages=find_packages(include=["dualnet", "dualnet.*"]),
    package_data={"dualnet": ["py.typed"], "dualnet.engine.proto": ["*.proto"]},
    # Lower bounds are what the real Caffe's interpreter has (Debian bullseye), because all of
    # dualnet outside dualnet.engine runs there too. docs/dependencies.md says why each is here.
    install_requires=[
        "numpy>=1.19",
        "protobuf>=3.12",
        "lmdb>=1.0",
        "PyYAML>=5.3",
        "matplotlib>=3.3",
        "tqdm>=4.57",
        "h5py>=2.10",
        "Pillow>=8.1",
        # Not in Debian's environment; there the command does without completion.
        "argcomplete>=3.0",
    ],
    extras_require={
        "engine": ["torch>=2.8"],
        "digits": ["scikit-learn>=0.23"],
        "fast": ["blake3>=1.0"],
        # The format, PyTorch's operators in it, and what runs it.
        "onnx": ["onnx>=1.19", "onnxscript>=0.7", "onnxruntime>=1.19"],
        # plyvel has wheels up to Python 3.12; plyvel-next is the same for those after it.
        "leveldb": [
            'plyvel>=1.5; python_version < "3.13"',
            'plyvel-next>=2.1; python_version >= "3.13"',
        ],
        "dev": ["pytest>=6.0", "hypothesis>=5.43", "ruff", "mypy", "import-linter", "types-PyYAML"],
    },
    entry_points={"console_scripts": ["dualnet = dualnet.__main__:main"]},
    classifiers=[
        "License :: OSI Approved :: MIT License",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3.9",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
    ],
)
