"""Runs in BVLC Caffe's interpreter: nets in, blobs and gradients out.

    python runner.py FOLDER

FOLDER/jobs.json lists jobs: {"name", "net", "weights", "phase", "inputs", "diffs", "backward"}
and optionally "passes", the number of forward passes;
arrays are in FOLDER/NAME.npz under "data:BLOB" and "diff:BLOB". Results go to
FOLDER/NAME.out.npz: "data:BLOB", "diff:BLOB", "param:LAYER:INDEX", "grad:LAYER:INDEX". A solver job
has {"name", "solver", "weights" or "state", "steps", "save_at", "iter_size", "arrays"} instead, the
last a file with "data" and "labels"; it updates by hand and writes a snapshot at iteration
"save_at" (0: none). Its result also has "rates" and "iter".
"""

import json
import os
import sys

os.environ.setdefault("GLOG_minloglevel", "2")

import caffe
import numpy as np


def run_net(folder, job):
    """One pass in both directions."""
    net = caffe.Net(job["net"], job["phase"], weights=job["weights"])
    arrays = np.load(os.path.join(folder, job["name"] + ".npz"))
    for name in job["inputs"]:
        net.blobs[name].data[...] = arrays["data:" + name]
    for _ in range(job.get("passes", 1)):
        net.forward()
    for name in job["diffs"]:
        net.blobs[name].diff[...] = arrays["diff:" + name]
    if job["backward"]:
        net.clear_param_diffs()
        net.backward()
    return collect(net)


def run_solver(job):
    """Starts from weights or a snapshot and updates by hand."""
    solver = caffe.get_solver(job["solver"])
    arrays = np.load(job["arrays"])
    data, labels = arrays["data"], arrays["labels"]
    solver.net.set_input_arrays(data, labels)
    if job["weights"]:
        solver.net.copy_from(job["weights"])
    if job["state"]:
        solver.restore(job["state"])
    rates = []
    for _ in range(job["steps"]):
        solver.net.clear_param_diffs()
        for _ in range(job["iter_size"]):
            solver.net.forward()
            solver.net.backward()
        rates.append(solver.lr)
        solver.apply_update()
        if solver.iter == job["save_at"]:
            solver.snapshot()
    return dict(collect(solver.net), rates=np.array(rates), iter=np.array(solver.iter))


def collect(net):
    """Everything that a net holds, copied."""
    found = {}
    for name, blob in net.blobs.items():
        found["data:" + name] = blob.data.copy()
        found["diff:" + name] = blob.diff.copy()
    for name, blobs in net.params.items():
        for index, blob in enumerate(blobs):
            found[f"param:{name}:{index}"] = blob.data.copy()
            found[f"grad:{name}:{index}"] = blob.diff.copy()
    return found


def main():
    """Runs all jobs of a folder."""
    folder = sys.argv[1]
    with open(os.path.join(folder, "jobs.json")) as stream:
        jobs = json.load(stream)
    for job in jobs:
        sys.stderr.write(f"job {job['name']}\n")
        result = run_solver(job) if "solver" in job else run_net(folder, job)
        np.savez(os.path.join(folder, job["name"] + ".out.npz"), **result)


if __name__ == "__main__":
    main()
