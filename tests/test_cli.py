"""The command as its users meet it: exit codes, one-line errors, nothing half-written."""

from __future__ import annotations

import json
import os

import pytest

from dualnet.backend import provider
from dualnet.cli import main

CONFIG = "configs/digits.yaml"
SHORT = ["--set", "train.max_iter=4", "--set", "train.test_interval=2", "--set", "train.display=1"]


def edited(workdir, source, *replacements):
    """A copy of a shipped prototxt with some text replaced, and a solver that names it."""
    text = (workdir / source).read_text()
    for old, new in replacements:
        assert old in text, old
        text = text.replace(old, new)
    net = workdir / "edited.prototxt"
    net.write_text(text)
    solver = (workdir / source.replace("train_test", "solver")).read_text()
    lines = [line for line in solver.splitlines() if not line.startswith("net:")]
    path = workdir / "edited_solver.prototxt"
    path.write_text("\n".join([f'net: "{net}"', *lines]))
    return str(path)


def refused(done, exit_code, *parts):
    """Check an error as users should see one: a line, or a line for each complaint."""
    assert done.returncode == exit_code, done.stderr
    assert "Traceback" not in done.stderr
    lines = done.stderr.strip().splitlines()
    first = max(n for n, line in enumerate(lines) if line.startswith("dualnet: "))
    assert all(line.startswith("  ") for line in lines[first + 1 :])
    for part in parts:
        assert part in "\n".join(lines[first:]), done.stderr


def test_help_has_examples(dualnet):
    done = dualnet("--help")
    assert done.returncode == 0
    assert "examples:" in done.stdout and "dualnet train configs/digits.yaml" in done.stdout


def test_train_evaluate_digest_and_plot(dualnet, workdir):
    done = dualnet("train", CONFIG, "--run-dir", "run", *SHORT)
    assert done.returncode == 0, done.stderr
    assert "iteration 4/4" in done.stderr
    for name in ("net1.log", "net2.log", "config.yaml", "net1_iter_4.caffemodel"):
        assert (workdir / "run" / name).exists()
    done = dualnet("evaluate", "run")
    result = json.loads(done.stdout)
    assert result["samples"] == 360 and 0 <= result["accuracy"] <= 1 and result["loss"] > 0
    # The last test of the training measured the same weights on the same images.
    log = (workdir / "run" / "net2.log").read_text()
    logged = float(log.rsplit("accuracy = ", 1)[1].split()[0])
    assert result["accuracy"] == pytest.approx(logged, abs=1e-5)
    digests = {dualnet("digest", "run").stdout for _ in range(2)}
    assert len(digests) == 1 and len(digests.pop().strip()) == 64
    done = dualnet("plot", "run", "-o", "losses.png")
    assert done.returncode == 0, done.stderr
    assert (workdir / "losses.png").read_bytes().startswith(b"\x89PNG")


def test_same_seed_same_digest_other_seed_other(dualnet):
    digests = []
    for run_dir, seed in (("a", 5), ("b", 5), ("c", 6)):
        done = dualnet("single", CONFIG, "--run-dir", run_dir, *SHORT, "--set", f"seed={seed}")
        assert done.returncode == 0, done.stderr
        digests.append(dualnet("digest", run_dir).stdout)
    assert digests[0] == digests[1] != digests[2]


def test_resumed_single_training_equals_uninterrupted(dualnet):
    keep = ["--set", "train.snapshot=2", "--set", "train.test_interval=0"]
    assert dualnet("single", CONFIG, "--run-dir", "whole", *SHORT, *keep).returncode == 0
    assert dualnet("single", CONFIG, "--run-dir", "parts", *SHORT, *keep).returncode == 0
    for name in ("single_iter_4.caffemodel", "single_iter_4.solverstate"):
        os.unlink(os.path.join("parts", name))
    done = dualnet("single", CONFIG, "--run-dir", "parts", *SHORT, *keep, "--resume")
    assert done.returncode == 0, done.stderr
    assert dualnet("digest", "parts").stdout == dualnet("digest", "whole").stdout


def test_run_directory_of_another_config_is_not_reused(dualnet):
    assert dualnet("single", CONFIG, "--run-dir", "run", *SHORT).returncode == 0
    again = dualnet("single", CONFIG, "--run-dir", "run", *SHORT, "--set", "seed=9")
    refused(again, 2, "another configuration runs here", "choose another run directory")


@pytest.mark.parametrize("words", [
    ("train", CONFIG, "--run-dir"), ("net1", CONFIG, "--run-dir"), ("single", CONFIG, "--run-dir"),
    ("data", "digits", "-o"), ("status",), ("evaluate",), ("digest",), ("train",), ("split",),
])  # fmt: skip
def test_a_directory_whose_name_is_not_utf8(workdir, capfd, words):
    before = sorted(workdir.iterdir())
    assert main([*words, "runs-\udcff"]) == 2
    said = capfd.readouterr()
    assert said.err.startswith(r"dualnet: 'runs-\udcff' is not UTF-8") and said.err.count("\n") == 1
    assert sorted(workdir.iterdir()) == before


def test_missing_config(dualnet):
    refused(dualnet("train", "nowhere.yaml"), 2, "nowhere.yaml", "No such file")


def test_unknown_key(dualnet):
    done = dualnet("train", CONFIG, "--set", "train.max_iters=5")
    refused(done, 2, "train.max_iters", "did you mean train.max_iter")


@pytest.mark.parametrize("name", ["net1", "net2"])
def test_missing_prototxt(dualnet, workdir, name):
    done = dualnet("train", CONFIG, "--run-dir", "run", "--set", f"{name}.solver=nowhere.prototxt")
    refused(done, 2, f"{name}.solver: nowhere.prototxt: no such file beside the YAML")
    assert not (workdir / "run").exists()


def test_missing_net_prototxt(dualnet, workdir):
    (workdir / "s.prototxt").write_text('net: "gone.prototxt" max_iter: 1')
    done = dualnet("single", CONFIG, "--run-dir", "run", "--set", "single.solver=s.prototxt")
    refused(done, 2, "s.prototxt: net gone.prototxt: no such file (looked beside ")
    assert not (workdir / "run").exists()


def test_misspelt_field_in_prototxt(dualnet, workdir):
    solver = edited(
        workdir, "prototxt/digits/net1_train_test.prototxt", ("kernel_size", "kernal_size")
    )
    done = dualnet("train", CONFIG, "--run-dir", "run", "--set", f"net1.solver={solver}")
    refused(done, 2, "edited.prototxt:", "kernal_size")
    assert not (workdir / "run").exists()


def test_cut_blob_that_does_not_exist(dualnet, workdir):
    done = dualnet("train", CONFIG, "--run-dir", "run", "--set", "cut.blobs=[pool9]")
    refused(done, 2, "no blob pool9", "cut.blobs", "pool1, conv2, pool2")
    assert not (workdir / "run").exists()


def test_pool2_of_the_wrong_shape(dualnet, workdir):
    shape, other = "dim: 64 dim: 32 dim: 2 dim: 2", "dim: 64 dim: 32 dim: 3 dim: 2"
    solver = edited(workdir, "prototxt/digits/net2_train_test.prototxt", (shape, other))
    done = dualnet("train", CONFIG, "--run-dir", "run", "--set", f"net2.solver={solver}")
    refused(done, 2, "pool2", "[64, 32, 2, 2] in net1", "[64, 32, 3, 2] in net2", "correct")


def test_dual_layers_that_differ(dualnet, workdir):
    head = 'top: "conv3p"\n  convolution_param {\n    num_output: 32\n    '
    solver = edited(
        workdir,
        "prototxt/digits/net2_train_test.prototxt",
        (head + "pad: 1\n    kernel_size: 3", head + "pad: 2\n    kernel_size: 5"),
    )
    done = dualnet("train", CONFIG, "--run-dir", "run", "--set", f"net2.solver={solver}")
    refused(done, 2, "parameters of conv3 and conv3p", "[32, 32, 3, 3]", "[32, 32, 5, 5]")


def test_conv3p_overwritten_in_place(dualnet, workdir):
    solver = edited(
        workdir,
        "prototxt/digits/net2_train_test.prototxt",
        ('top: "relu3"', 'top: "conv3p"'),
        ('bottom: "relu3"', 'bottom: "conv3p"'),
    )
    done = dualnet("train", CONFIG, "--run-dir", "run", "--set", f"net2.solver={solver}")
    refused(done, 2, "relu3 overwrites conv3p in place", "top of its own")


def test_loss_that_is_no_number_ends_the_run(dualnet):
    blow_up = ["--set", "update.rule=manual", "--set", "update.learning_rate=1e30"]
    done = dualnet("train", CONFIG, "--run-dir", "run", *SHORT, *blow_up)
    refused(done, 1, "the loss is", "at iteration", "lower the learning rate")


@pytest.mark.skipif(
    provider == "bvlc",
    reason="its MAX pooling backward writes out of bounds where all inputs are NaN (mask -1)",
)
def test_loss_that_is_no_number_may_be_allowed(dualnet):
    blow_up = ["--set", "update.rule=manual", "--set", "update.learning_rate=1e30"]
    allow = ["--set", "train.stop_on_nan=false"]
    done = dualnet("train", CONFIG, "--run-dir", "on", *SHORT, *blow_up, *allow)
    assert done.returncode == 0, done.stderr


def test_neighbour_that_never_starts(dualnet):
    done = dualnet(
        "net1", CONFIG, "--run-dir", "run", *SHORT, "--set", "exchange.partner_timeout_s=1"
    )
    refused(done, 70, "net2")


def test_pieces_with_different_configs(dualnet):
    # The first piece to start gives up after a second; its config stays.
    wait = ["--set", "exchange.partner_timeout_s=1"]
    dualnet("net1", CONFIG, "--run-dir", "run", *SHORT, *wait)
    done = dualnet("net2", CONFIG, "--run-dir", "run", *SHORT, *wait, "--set", "seed=9")
    refused(done, 2, "another configuration")


def test_evaluate_without_a_run(dualnet):
    refused(dualnet("evaluate", "nowhere"), 2, "nowhere", "no run here")


def test_unknown_data_set(dualnet):
    done = dualnet("data", "mnist")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    for name in ("mnist", "digits", "cifar10", "cats-dogs", "images"):
        assert name in done.stderr


def test_doctor(dualnet):
    done = dualnet("doctor")
    assert done.returncode == 0, done.stderr
    assert "Caffe: " in done.stdout and "data set digits in data/digits" in done.stdout
