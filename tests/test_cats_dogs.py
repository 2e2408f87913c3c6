"""The cats-and-dogs experiment: nets that fit together, and training on photographs."""

from __future__ import annotations

import json

import numpy as np
import pytest
from google.protobuf import text_format
from PIL import Image

from dualnet.cut.graph import read_net
from dualnet.cut.split import Request, split
from dualnet.data.sets.prepare import prepare

NET = "prototxt/cats_dogs/single_train_test.prototxt"


def test_shipped_pieces_are_what_split_makes(workdir):
    request = Request(NET, [(["pool2"], ["norm2", "conv3"])], "prototxt/cats_dogs",
                      shapes={"data": (3, 227, 227)})  # fmt: skip
    contents = split(request).contents
    for name in ("net1", "net2"):
        path = f"prototxt/cats_dogs/{name}_train_test.prototxt"
        made = text_format.Parse(contents[path], type(read_net(path))())
        assert made == read_net(path)
        solver = f"prototxt/cats_dogs/{name}_solver.prototxt"
        # Caffe's tools look for a net where they run; what `split` writes stands beside its solver.
        shipped = (workdir / solver).read_text().replace('net: "prototxt/cats_dogs/', 'net: "')
        assert contents[solver] == shipped


@pytest.mark.slow
def test_both_pieces_train_on_photographs(dualnet, workdir, tmp_path):
    folder = tmp_path / "photographs"
    folder.mkdir()
    for i in range(10):
        for kind in ("cat", "dog"):
            noise = np.random.randint(0, 256, (40 + i, 60 - i, 3), np.uint8)
            Image.fromarray(noise).save(str(folder / f"{kind}.{i}.png"))
    prepare("cats-dogs", folder)
    done = dualnet(
        "train", "configs/cats_dogs.yaml", "--run-dir", "run", "--set", "train.max_iter=2",
        "--set", "train.batch_size=2", "--set", "train.test_interval=0",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    done = dualnet("evaluate", "run", "--batches", "1")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["samples"] == 50 and np.isfinite(result["loss"])
