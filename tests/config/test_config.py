"""The YAML that runs are made of: what is accepted, and how mistakes are told."""

from __future__ import annotations

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dualnet import config
from dualnet.errors import ConfigError
from dualnet.rundir import RunDir


@pytest.fixture
def yaml_file(tmp_path):
    def write(text):
        path = tmp_path / "run.yaml"
        path.write_text(text)
        return str(path)

    return write


def test_shipped_configs_load(repository):
    for path in sorted((repository / "configs").glob("*.yaml")):
        loaded = config.load(str(path))
        assert loaded.piece("net1").solver and loaded.piece("net2").solver and loaded.single.solver


def test_defaults_survive_a_round_trip(yaml_file):
    loaded = config.load(yaml_file("name: a\n"))
    assert config.load(yaml_file(loaded.to_yaml())) == loaded


def test_overrides_replace_and_add(yaml_file):
    path = yaml_file("train:\n  max_iter: 10\n")
    loaded = config.load(path, ["train.max_iter=20", "coupling.gamma=1e-3", "net1.device=1"])
    assert (loaded.train.max_iter, loaded.coupling.gamma, loaded.piece("net1").device) == (
        20,
        0.001,
        1,
    )


def test_section_with_all_keys_commented_out(yaml_file):
    path = yaml_file("train:\n#  max_iter: 10\n")
    assert config.load(path) == config.load(yaml_file(""))
    path = yaml_file("train:\n#  max_iter: 10\n")
    assert config.load(path, ["train.max_iter=20"]).train.max_iter == 20


def test_later_override_wins(yaml_file):
    assert config.load(yaml_file(""), ["seed=1", "seed=2"]).seed == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sead: 1", ["unknown key sead", "did you mean seed", "valid keys"]),
        ("train: {max_iters: 5}", ["train.max_iters", "did you mean train.max_iter"]),
        ("train: {max_iter: ten}", ["train.max_iter", "an integer", "'ten'"]),
        ("train: {max_iter: true}", ["train.max_iter", "True"]),
        ("train: {max_iter: 0}", ["train.max_iter", "0 is not positive"]),
        ("train: {display: -1}", ["train.display", "negative"]),
        ("train: {weights: a.caffemodel}", ["train.weights", "a list of strings"]),
        ("train: 5", ["train", "keys and values", "5"]),
        ("caffe: caffe2", ["caffe", "'caffe2'", "auto, engine, bvlc"]),
        ("coupling: {target: gradeint}", ["coupling.target", "activation, updated, gradient"]),
        ("coupling: {gamma: 0}", ["coupling.gamma", "0.0 is not positive"]),
        ("coupling: {target: activation, tie: every}", ["coupling.tie", "net1 learns nothing"]),
        ("coupling: {loss: none, loss_weight: 2}", ["coupling.loss_weight", "drop one"]),
        ("coupling: {rho: 0}", ["coupling.rho", "0.0 is not positive"]),
        ("coupling: {alternations: 0}", ["coupling.alternations", "0 is not within 1 and 99"]),
        ("coupling: {inner_steps: 100}", ["coupling.inner_steps", "100 is not within 1 and 99"]),
        ("coupling: {fidelity_interval: -1}", ["coupling.fidelity_interval", "-1 is negative"]),
        ("coupling: {beta: 10, beta_cap: 1}", ["coupling.beta_cap", "1.0 is below", "10.0"]),
        ("coupling: {target: admm, loss: normalized}", ["loss: normalized", "target admm"]),
        ("coupling: {target: admm, loss_weight: 2}", ["weight 2.0", "beta for the weight"]),
        ("coupling: {target: backprop, tie: every}", ["coupling.tie", "backprop"]),
        ("coupling: {target: frozen, loss: euclidean}", ["coupling.loss", "target frozen"]),
        ("coupling: {target: prox, loss: none}", ["coupling.loss: none", "target prox"]),
        ("coupling: {target: admm}\nexchange: {dtype: int8}", ["exchange.dtype: int8", "admm"]),
        ("coupling: {target: prox}\nexchange: {dtype_up: int8}", ["exchange.dtype: int8", "rho"]),
        ("coupling: {target: admm}\ntrain: {schedule: overlapped}", ["train.schedule", "admm"]),
        ("train: {staleness: -1}", ["train.staleness", "-1 is not within 0 and 99"]),
        ("train: {local_steps: 0}", ["train.local_steps", "0 is not within 1 and 99"]),
        ("update: {rule: manual, ascend: net3}", ["update.ascend", "net1"]),
        ("update: {ascend: true}", ["update.ascend", "rule solver", "manual"]),
        ("net2: {learning_rate: -1}", ["net2.learning_rate", "-1.0 is negative"]),
        ("liveness: {frozen: shout}", ["liveness.frozen", "'shout'", "ignore, warn, stop"]),
        ("liveness: {interval: -1}", ["liveness.interval", "-1 is negative"]),
        ("liveness: {collapse_share: 1}", ["liveness.collapse_share", "not between 0 and 1"]),
        ("convergence: {window: -5}", ["convergence.window", "-5 is negative"]),
        ("convergence: {tolerance: 1}", ["convergence.tolerance", "1.0 is not within 0 and 1"]),
        ("convergence: {residual: 0}", ["convergence.residual", "0.0 is not positive"]),
        ("cut: {blobs: []}", ["cut.blobs", "empty"]),
        ("cut: {labels: [pool2]}", ["cut.labels", "pool2 is in cut.blobs too"]),
        ("cut: {dual: {}}", ["cut.dual", "empty"]),
        ("cut: {dual: [conv3]}", ["cut.dual", "a mapping"]),
        ("net1: {device: gpu}", ["net1.device", "'gpu'"]),
        ("net1: {device: -2}", ["net1.device", "-2"]),
        ("net2: {threads: -1}", ["net2.threads", "-1"]),
        ("seed: -1", ["seed", "-1"]),
        ("update: {learning_rate: -0.1}", ["update.learning_rate", "-0.1"]),
        ("exchange: {address: 'a:1'}", ["exchange.address", "a:1", "carrier files"]),
        ("exchange: {dtype_up: half}", ["exchange.dtype_up", "'half'", "bfloat16"]),
        ("exchange: {hang_timeout_s: -3}", ["exchange.hang_timeout_s", "-3"]),
        ("- 1\n- 2", ["keys and values", "list"]),
        ("train: {max_iter: 3000000000}", ["train.max_iter", "3000000000", "2147483647"]),
        (f"train: {{max_iter: {'9' * 5000}}}", []),  # Python 3.11 refuses to read it
        (f"seed: 0x{'f' * 5000}", ["seed", "an integer of 6021 digits"]),
        ("exchange: {disk_budget_bytes: 99999999999999999999}", ["disk_budget_bytes", "64 bits"]),
        ("exchange: {dead_after_s: .inf}", ["exchange.dead_after_s", "inf", "1e+09"]),
        ("coupling: {gamma: .nan}", ["coupling.gamma", "nan"]),
        ("net1: {threads: 1000000}", ["net1.threads", "1000000", "4096"]),
        ("name: ../..", ["name", "'../..'", "folder"]),
        ("name: a/b", ["name", "'a/b'", "folder"]),
        ("name: .", ["name", "'.'", "folder"]),
        ("name: ''", ["name", "''", "folder"]),
        (f"name: {'n' * 300}", ["name", "300 characters", "100"]),
        ('net1: {solver: "a\\0b"}', ["net1.solver", "a\\x00b", "control character"]),
        ('name: "a\\nI1231 forged"', ["name", "a\\nI1231", "control character"]),
        ('name: "\\ud800"', ["name", "control character"]),
        ("cut: {dual: {conv3: [a]}}", ["cut.dual", "a mapping"]),
        ("seed: 1\nseed: 2", ["line 2", "'seed'", "line 1 already"]),
        ("train: {max_iter: 1, max_iter: 2}", ["'max_iter'", "already"]),
        ("[" * 5000, ["nested more than 32 deep"]),
        ("{a: " * 5000, ["nested more than 32 deep"]),
        ("a: &a [*a]", ["an alias inside of what it stands for"]),
        ("name: a\x1ab", ["not valid YAML", "special characters"]),
        ("seed: !!int ''", ["not valid YAML"]),
        ("seed: !!float ''", ["not valid YAML"]),
        ("seed: !!bool maybe", ["not valid YAML"]),
        ("seed: !!timestamp soon", ["not valid YAML"]),
        ("seed: 2001-99-99", ["not valid YAML"]),
        ("seed: !!python/object/apply:os.getpid []", ["not valid YAML"]),
        ("? [a, b]\n: 1", ["not valid YAML"]),
        ("? !!binary aGk=\n: 1", ["unknown key b'hi'"]),
        (f"? {'k' * 100000}\n: 1", ["unknown key", "..."]),
        ("#" * 300000, ["longer than 262144 bytes"]),
        ("a: [", ["not valid YAML"]),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_mistakes_are_named_in_one_line(yaml_file, text, expected):
    path = yaml_file(text)
    with pytest.raises(ConfigError) as caught:
        config.load(path)
    message = str(caught.value)
    assert message.startswith(path) and "\n" not in message and len(message) < len(path) + 500
    for part in expected:
        assert part in message


def test_aliases_that_stand_for_billions(yaml_file):
    """A file of 500 bytes; printing its value would take all memory and hours."""
    lines = ["a: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join(9 * [f'*a{n - 1}'])}]" for n in range(1, 10)]
    for last in ("seed: *a9", "train: *a9", "train: {weights: *a9}", "cut: {dual: *a9}"):
        with pytest.raises(ConfigError, match="stands for more than 100000 values"):
            config.load(yaml_file("\n".join([*lines, last])))
    merged = ["a: &a0 {x: 1, y: 2}"]
    merged += [f"a{n}: &a{n} {{<<: [{', '.join(9 * [f'*a{n - 1}'])}]}}" for n in range(1, 10)]
    with pytest.raises(ConfigError, match="stands for more than 100000 values"):
        config.load(yaml_file("\n".join(merged)))


def test_aliases_and_merge_keys_are_taken(yaml_file):
    text = "net1: &piece {solver: a, threads: 2}\nnet2: *piece\nsingle: {<<: *piece, threads: 3}\n"
    loaded = config.load(yaml_file(text), ["net1.threads=1"])
    assert [
        piece.threads for piece in (loaded.piece("net1"), loaded.piece("net2"), loaded.single)
    ] == [1, 2, 3]
    assert loaded.single.solver == "a"


def test_overrides_are_checked_as_files_are(yaml_file):
    path = yaml_file("")
    for override in (
        "net1.solver=a\udcff",
        "seed=" + "[" * 5000,
        "seed=!!int ''",
        "train={max_iter: 1, max_iter: 2}",
    ):
        with pytest.raises(ConfigError, match="^--set .*not a YAML value") as caught:
            config.load(path, [override])
        assert len(str(caught.value)) < 500


@pytest.mark.parametrize("kind", ["fifo", "device", "directory"])
def test_a_config_that_is_no_file(tmp_path, kind):
    path = tmp_path / "run.yaml"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    with pytest.raises(ConfigError, match="run.yaml: cannot read the config: "):
        config.load(str(path))


def test_missing_file():
    with pytest.raises(ConfigError, match="nowhere.yaml: cannot read the config: No such file"):
        config.load("nowhere.yaml")


@pytest.mark.parametrize("override", ["seed", "=1", "seed.deeper=1"])
def test_bad_override(yaml_file, override):
    with pytest.raises(ConfigError) as caught:
        config.load(yaml_file("seed: 1"), [override])
    assert override in str(caught.value)


def fixed(path, *overrides, is_dual=True):
    return config.fixed_values(config.load(path, overrides), is_dual)


def test_what_belongs_to_a_node_or_is_only_shown_may_change(yaml_file):
    path = yaml_file("")
    free = fixed(path, "net1.device=3", "net2.threads=2", "exchange.poll_cap_s=0.1", "name=other",
                 "train.stop_on_nan=false", "liveness.interval=7", "train.max_iter=9",
                 "exchange.lock_dir=/var/lock/mine", "exchange.max_message_bytes=2000000000",
                 )  # fmt: skip
    assert config.changed_keys(fixed(path), free) == []


@pytest.mark.parametrize(
    ("override", "before", "now"),
    [
        ("coupling.gamma=2", 1000.0, 2.0),
        ("exchange.dtype_up=int8", "", "int8"),
        ("seed=5", 1, 5),
        ("cut.blobs=[a]", ["pool2"], ["a"]),
        ("train.schedule=overlapped", "alternating", "overlapped"),
    ],
)
def test_what_is_computed_may_not(yaml_file, override, before, now):
    path = yaml_file("")
    (change,) = config.changed_keys(fixed(path), fixed(path, override))
    assert change == (override.partition("=")[0], before, now)


def test_a_key_that_was_left_to_the_prototxt_may_say_the_same(yaml_file):
    path = yaml_file("train: {batch_size: 8}")
    assert config.changed_keys(fixed(path), fixed(path, "train.batch_size=null")) == []
    (change,) = config.changed_keys(fixed(path), fixed(path, "train.batch_size=9"))
    assert change == ("train.batch_size", 8, 9)


def test_each_kind_of_training_has_its_own_keys(yaml_file):
    path = yaml_file("")
    for override in ("coupling.gamma=2", "exchange.dtype=int8", "net1.learning_rate=0.5"):
        assert fixed(path, override, is_dual=False) == fixed(path, is_dual=False)
    assert fixed(path, "single.learning_rate=0.5") == fixed(path)


def test_every_free_key_is_one_and_has_its_reason(yaml_file):
    keys = config.load(yaml_file("")).to_dict()
    for key, reason in config.FREE.items():
        section, _, name = key.replace("PIECE", "net2").partition(".")
        assert section in keys and (not name or name in keys[section])
        assert len(reason) > 8


def test_load_run_says_what_is_no_run(tmp_path):
    with pytest.raises(ConfigError, match="no run here"):
        config.load_run(RunDir(str(tmp_path)))


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_damage_of_a_config_is_one_line(data, repository, tmp_path_factory):
    """Bytes changed, cut and moved in a shipped config: it loads, or says why in a line."""
    content = bytearray((repository / "configs" / "digits.yaml").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        first = data.draw(st.integers(0, len(content) - 1))
        last = min(len(content), first + data.draw(st.integers(0, 40)))
        piece = data.draw(
            st.sampled_from(
                [b"", b"&a ", b"*a", b"<<: ", b"[", b"{", b"!!int ", b"- ", b": ", b"? "]
            )
            | st.binary(max_size=8)
            | st.integers(-(10**30), 10**30).map(lambda number: str(number).encode())
        )
        content[first:last] = piece
    path = tmp_path_factory.getbasetemp() / "damaged.yaml"
    path.write_bytes(content)
    try:
        config.load(str(path))
    except ConfigError as error:
        message = str(error)
        assert "\n" not in message and len(message) < len(str(path)) + 1000


def test_a_prototxt_is_no_config(tmp_path):
    path = tmp_path / "solver.prototxt"
    path.write_text("max_iter: 5\n")
    with pytest.raises(ConfigError, match="a prototxt, where a run's YAML is expected"):
        config.load(str(path))
