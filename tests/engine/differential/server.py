"""Runs in BVLC Caffe's interpreter: one long-lived process that is fed net after net.

    python server.py

Reads one JSON object a line: {"net", "weights", "phase", "arrays", "inputs", "diffs", "passes",
"backwards", "out"}; answers `done` on a line of its own. "arrays" is an .npz with "data:BLOB",
"diff:BLOB" and, where no weights are named, "param:LAYER:INDEX"; "out" receives "data:BLOB",
"diff:BLOB", "param:LAYER:INDEX" and "grad:LAYER:INDEX". "path" may name a folder of Python layers.
A bad net aborts the process (Caffe's CHECK), which the other side sees as the end of the stream.
"""

import gc
import json
import os
import sys

os.environ.setdefault("GLOG_minloglevel", "2")

import caffe
import numpy as np


def run(job):
    """Runs one net forward and backward; returns what it holds afterwards."""
    if job.get("path") and job["path"] not in sys.path:
        sys.path.insert(0, job["path"])  # where the net's Python layers are
    weights = {"weights": job["weights"]} if job["weights"] else {}
    net = caffe.Net(job["net"], job["phase"], **weights)
    arrays = np.load(job["arrays"])
    for key in arrays.files:
        if key.startswith("param:"):
            _, name, index = key.split(":")
            net.params[name][int(index)].data[...] = arrays[key]
    for _ in range(job["passes"]):
        for name in job["inputs"]:  # again each time: layers in place overwrite their input
            net.blobs[name].data[...] = arrays["data:" + name]
        net.forward()
    net.clear_param_diffs()
    for _ in range(job["backwards"]):
        for name in job["diffs"]:
            net.blobs[name].diff[...] = arrays["diff:" + name]
        net.backward()
    found = {}
    for name, blob in net.blobs.items():
        found["data:" + name] = blob.data
        found["diff:" + name] = blob.diff
    for name, blobs in net.params.items():
        for index, blob in enumerate(blobs):
            found[f"param:{name}:{index}"] = blob.data
            found[f"grad:{name}:{index}"] = blob.diff
    np.savez(job["out"], **found)


def main():
    """Serves until the stream ends."""
    for line in sys.stdin:
        run(json.loads(line))
        gc.collect()
        sys.stdout.write("done\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
