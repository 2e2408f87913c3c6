"""A run is what its inputs hold: what has changed is refused with both values, what was only moved
or renamed goes on, to the bit."""

from __future__ import annotations

import os
import re
import shutil
import threading
from functools import partial
from pathlib import Path

import pytest

from dualnet.data.databases.lmdb import read_lmdb, write_lmdb
from dualnet.errors import DualnetError, ManifestMismatch, NeighbourDied, StorageFailed, UsageError
from dualnet.fs import SYSTEM
from dualnet.rundir import RunDir
from dualnet.training.net.initial import save_initial_weights
from dualnet.training.net.resolve import resolve
from dualnet.training.outcome.digest import digest
from dualnet.training.start import identity, inputs
from tests.exchange.fakes import FaultyFs
from tests.training.pieces import load
from tests.training.starting import train_one, train_single
from tests.training.test_restart import SHORT, Crash, one_by_one, run_chain

__all__ = ["one_by_one"]  # a fixture

MODULE = """
import caffe


class Same(caffe.Layer):
    def setup(self, bottom, top):
        pass

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        top[0].data[...] = bottom[0].data

    def backward(self, top, propagate_down, bottom):
        bottom[0].diff[...] = top[0].diff
"""
SAME = """
layer {
  name: "same" type: "Python" bottom: "data" top: "data"
  python_param { module: "same_layer" layer: "Same" }
}
"""


@pytest.fixture
def project(workdir, monkeypatch):
    """A working directory whose prototxt, data, weights and Python layer may be changed."""
    os.unlink("prototxt")
    shutil.copytree(Path(__file__).parents[3] / "prototxt" / "digits", "prototxt/digits")
    data = Path("data/digits").resolve()
    os.unlink("data/digits")
    shutil.copytree(data, "data/digits")
    for piece in ("single", "net1", "net2"):
        edit(f"prototxt/digits/{piece}_solver.prototxt", '"poly"', '"fixed"')
    net = Path("prototxt/digits/single_train_test.prototxt")
    text = net.read_text()
    place = text.index('layer {\n  name: "conv1"')
    net.write_text(text[:place] + SAME.replace('top: "data"', 'top: "same"') + text[place:])
    edit(str(net), 'name: "conv1"\n  type: "Convolution"\n  bottom: "data"',
         'name: "conv1"\n  type: "Convolution"\n  bottom: "same"')  # fmt: skip
    Path("same_layer.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(workdir))
    save_initial_weights(load("seed=3"), ["net1", "net2"], "initial")
    return workdir


def edit(path, old, new):
    text = Path(path).read_text()
    assert old in text
    Path(path).write_text(text.replace(old, new))


def content_of(run_dir):
    """Everything in a directory, times of change included."""
    return {
        path: (path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(Path(run_dir).rglob("*"))
        if path.is_file()
    }


def crash_at(iteration):
    """Ends a piece there, as a kill would, but for what `train_one` does for an error."""

    def arm(session):
        def look(done):
            if done == iteration:
                raise Crash

        session.on_progress = look

    return arm


class Change:
    """Something that goes into a run, changed and changed back."""

    def __init__(self, expected, path="", old="", new="", settings=(), make=None):
        self.expected = expected
        self.path, self.old, self.new, self.settings, self.make = path, old, new, settings, make

    def __enter__(self):
        if self.path:
            self.before = Path(self.path).read_bytes()
            if self.make:
                self.make()
            else:
                edit(self.path, self.old, self.new)
        return self

    def __exit__(self, *exception):
        if self.path:
            Path(self.path).write_bytes(self.before)


def rewrite(path, change):
    """Make a database again, with `change` made to its list of (image, label)."""
    # Read from a copy: nets of this process have the database open, which can be done once.
    shutil.copytree(path, "copy")
    records = [(record.image, record.label) for record in read_lmdb("copy")]
    shutil.rmtree("copy")
    change(records)
    write_lmdb(path, [image for image, _ in records], [label for _, label in records], force=True)


def lose_record(path):
    rewrite(path, lambda records: records.pop())


def other_label(path):
    def change(records):
        image, label = records[-1]
        records[-1] = image, (label + 1) % 10

    rewrite(path, change)


def other_mean():
    content = bytearray(Path("data/digits/mean.binaryproto").read_bytes())
    content[-1] ^= 1
    Path("data/digits/mean.binaryproto").write_bytes(content)


def other_weights():
    content = bytearray(Path("initial/net1.caffemodel").read_bytes())
    content[-100] ^= 1
    Path("initial/net1.caffemodel").write_bytes(content)


def changes(piece):
    """What is changed, and what the line must say."""
    solver, net = (f"prototxt/digits/{piece}_{kind}.prototxt" for kind in ("solver", "train_test"))
    found = [
        Change([f"{solver}: solver base_lr is 0.06, was 0.05 "], solver, "0.05", "0.06"),
        Change([f"{solver}: solver momentum is 0.8, was 0.9 "], solver, "0.9", "0.8"),
        Change([f"{solver}: solver type is \"Nesterov\", was absent "], solver, "momentum:",
               'type: "Nesterov"\nmomentum:'),
        Change([f"{net}: conv", "convolution_param.weight_filler.type is \"xavier\", was \"msra\""],
               net, "msra", "xavier"),
        Change([r"config.yaml", "seed is 2, was 1 "], settings=["seed=2"]),
        Change([f"{piece}.threads: threads is 2, was 1 ", f"set {piece}.threads to what it was"],
               settings=[f"{piece}.threads=2"]),
        Change(["initial/net1.caffemodel: train.weights[0] is SHA-256 "],
               "initial/net1.caffemodel", make=other_weights),
    ]  # fmt: skip
    if piece == "net2":
        return found
    train, test = "data/digits/train_lmdb", "data/digits/test_lmdb"
    return [
        *found,
        Change([f"{train}: layer ", "data_param.source is 1436 records, SHA-256 of some ",
                "was 1437 records", "put back what it held"],
               f"{train}/data.mdb", make=lambda: lose_record(train)),
        Change([f"{test}: layer ", "data_param.source is 360 records", "was 360 records"],
               f"{test}/data.mdb", make=lambda: other_label(test)),
        Change(["data/digits/mean.binaryproto: layer ", "mean_file is SHA-256 ", "was SHA-256 "],
               "data/digits/mean.binaryproto", make=other_mean),
    ]  # fmt: skip


WEIGHTS = "train.weights=[initial/net1.caffemodel]"


def refused(run_dir, expected, train):
    """Check that `train` ends with such a line and has changed nothing."""
    before = content_of(run_dir)
    with pytest.raises(DualnetError) as caught:
        train()
    message = str(caught.value)
    assert caught.value.exit_code == 2 and "\n" not in message
    for part in (run_dir, *expected):
        assert part in message
    assert content_of(run_dir) == before


def test_a_single_run_is_refused_what_has_changed_and_goes_on_when_it_is_as_before(
    project, monkeypatch
):
    settings = (*SHORT, WEIGHTS)
    train_single(load(*settings), RunDir("whole"))
    with pytest.raises(Crash):
        train_single(load(*settings), RunDir("run"), progress=crash_at(7))
    module = Change(["same_layer.py: Python module same_layer is SHA-256 ", "was SHA-256 "],
                    "same_layer.py", "pass", "self.other = 1")  # fmt: skip
    for change in [*changes("single"), module]:
        with change:
            config = load(*settings, *change.settings)
            refused("run", change.expected, lambda: train_single(config, RunDir("run")))  # noqa: B023
    with monkeypatch.context() as patch:
        patch.setattr(inputs.backend, "provider", "other")
        expected = ["Caffe: provider is other, was ", "DUALNET_CAFFE"]
        refused("run", expected, lambda: train_single(load(*settings), RunDir("run")))
    with monkeypatch.context() as patch:
        patch.setattr(inputs, "TRAINING_VERSION", 99)
        expected = ["version of the training is 99, was "]
        refused("run", expected, lambda: train_single(load(*settings), RunDir("run")))
    assert train_single(load(*settings), RunDir("run")).is_continued
    assert digest(RunDir("run")) == digest(RunDir("whole"))
    # Complete, it is what it was, too.
    with changes("single")[0] as change:
        refused("run", change.expected, lambda: train_single(load(*settings), RunDir("run")))
    assert train_single(load(*settings), RunDir("run")) is None


def test_each_piece_is_refused_what_has_changed_and_both_go_on_when_it_is_as_before(project):
    settings = (*SHORT, WEIGHTS, "exchange.restart_grace_s=0")
    run_chain("whole", *settings)

    def train(piece):
        with pytest.raises((Crash, NeighbourDied)):
            train_one(load(*settings), RunDir("run").piece(piece), crash_at(7))

    threads = [threading.Thread(target=train, args=(piece,)) for piece in ("net1", "net2")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for piece in ("net1", "net2"):
        for change in changes(piece):
            with change:
                config = load(*settings, *change.settings)
                start = partial(train_one, config, RunDir("run").piece(piece))
                refused("run", change.expected, start)
    # What the other piece's node holds is nobody else's business.
    shutil.move("data", "gone")
    try:
        facts = facts_of("net2", *settings)
        identity.compare(RunDir("run"), identity.read_inputs(RunDir("run").piece("net2")), facts)
    finally:
        shutil.move("gone", "data")
    run_chain("run", *settings)
    assert digest(RunDir("run")) == digest(RunDir("whole"))


def facts_of(piece, *settings):
    config = load(*settings)
    return inputs.collect(config, resolve(config, RunDir("run").piece(piece)))


def test_what_is_only_moved_renamed_made_again_or_shown_goes_on(project):
    settings = (*SHORT, WEIGHTS)
    train_single(load(*settings), RunDir("whole"))
    with pytest.raises(Crash):
        train_single(load(*settings), RunDir("run"), progress=crash_at(7))
    os.rename("run", "elsewhere")
    os.rename("initial", "first")
    shutil.copytree("data/digits/train_lmdb", "data/images")
    shutil.rmtree("data/digits/train_lmdb")
    rewrite("data/digits/test_lmdb", lambda records: None)
    solver, net = "prototxt/digits/single_solver.prototxt", "prototxt/digits/net.prototxt"
    os.rename("prototxt/digits/single_train_test.prototxt", net)
    edit(net, "data/digits/train_lmdb", "data/images")
    edit(solver, "single_train_test.prototxt", "net.prototxt")
    edit(solver, "base_lr: 0.05", "base_lr: 0.0500 # as before")
    edit(solver, 'snapshot_prefix: "single"', 'snapshot_prefix: "x"')
    os.rename(solver, "solver.prototxt")
    moved = (
        *SHORT, "train.weights=[first/net1.caffemodel]", "single.solver=solver.prototxt",
        "name=other", "train.display=3", "train.keep=0", "train.stop_on_nan=false",
        "liveness.interval=1", "coupling.gamma=7", "exchange.storage_timeout_s=9",
        "train.batch_size=null",
    )  # fmt: skip
    edit(net, "batch_size: 64", "batch_size: 8")
    assert train_single(load(*moved), RunDir("elsewhere")).is_continued
    assert digest(RunDir("elsewhere")) == digest(RunDir("whole"))


def test_a_checkpoint_of_another_run_or_piece_is_refused(project):
    for run_dir, seed in (("run", 1), ("other", 2)):
        with pytest.raises(Crash):
            config = load(*SHORT, f"seed={seed}")
            train_single(config, RunDir(run_dir), progress=crash_at(7))
    kept = content_of("run")
    runs = [identity.read_run(RunDir(run_dir)).run for run_dir in ("run", "other")]
    for name in os.listdir("other"):
        if "_iter_6." in name:
            shutil.copy(f"other/{name}", f"run/{name}")
    expected = [f"a checkpoint of run {runs[1]} and not of run {runs[0]}",
                "single_iter_6.checkpoint.json", "remove single_iter_6.*"]  # fmt: skip
    refused("run", expected, lambda: train_single(load(*SHORT), RunDir("run")))
    for path, (_, content) in kept.items():
        path.write_bytes(content)
    os.makedirs("dual")
    identity.begin(RunDir("dual").piece("net1"), "dual")
    for path in Path("run").glob("single_iter_6.*"):
        shutil.copy(path, Path("dual", path.name.replace("single", "net1")))
    expected = ["net1_iter_6.checkpoint.json: a checkpoint of single and not of net1"]
    refused("dual", expected, lambda: train_one(load(*SHORT), RunDir("dual").piece("net1")))
    assert train_single(load(*SHORT), RunDir("run")).is_continued


def test_pieces_of_two_runs_make_no_net(project):
    for run_dir, seed in (("run", 1), ("other", 2)):
        run_chain(run_dir, "train.max_iter=1", f"seed={seed}")
    digest(RunDir("run"))
    for path in Path("other").glob("net2_iter_1.*"):
        shutil.copy(path, Path("run", path.name))
    runs = [identity.read_run(RunDir(run_dir)).run for run_dir in ("run", "other")]
    with pytest.raises(UsageError) as caught:
        digest(RunDir("run"))
    assert f"net1's is of run {runs[0]}, net2's is of run {runs[1]}; put" in str(caught.value)


def test_checkpoints_without_the_record_of_their_run_are_refused(project):
    with pytest.raises(Crash):
        train_single(load(*SHORT), RunDir("run"), progress=crash_at(3))
    os.makedirs("new")
    for path in Path("run").glob("single_iter_2.*"):
        shutil.copy(path, Path("new", path.name))
    for seed in (1, 2):
        expected = ["single_iter_2.checkpoint.json: left by a run", "no run.json"]
        config = load(*SHORT, f"seed={seed}")
        refused("new", expected, lambda: train_single(config, RunDir("new")))  # noqa: B023
    os.unlink("run/run.json")
    refused("run", ["left by a run"], lambda: train_single(load(*SHORT), RunDir("run")))


def test_one_kind_of_training_does_not_go_on_in_the_directory_of_the_other(project):
    train_single(load("train.max_iter=1"), RunDir("single"))
    for piece in ("net1", "net2"):
        expected = ["a run of the uncut net (single), and this is one of a chain (net1, net2)"]
        refused("single", expected, lambda: train_one(load(), RunDir("single").piece(piece)))  # noqa: B023
    run_chain("dual", "train.max_iter=1")
    expected = ["a run of a chain (net1, net2), and this is one of the uncut net (single)"]
    refused("dual", expected, lambda: train_single(load("train.max_iter=1"), RunDir("dual")))


@pytest.mark.parametrize("name", ["run.json", "single_inputs.json"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "[]", "fifo", "newer", "field"])
def test_damaged_records_are_refused(project, name, damage):
    path = Path("run", name)
    os.makedirs("run")
    identity.begin(RunDir("run").piece("single"), "single")
    identity.write(RunDir("run").piece("single"), identity.read_run(RunDir("run")).run, 3, [])
    text = path.read_text()
    path.unlink()
    if damage == "fifo":
        os.mkfifo(path)
    else:
        path.write_text({
            "flipped": text.replace('"run": "', '"run": "0'), "cut": text[:-9], "empty": "",
            "[]": "[]", "newer": text.replace('"version": 1', '"version": 2'),
            "field": text.replace('"run"', '"fun"'),
        }[damage])  # fmt: skip
    with pytest.raises(ManifestMismatch) as caught:
        train_single(load(*SHORT), RunDir("run"))
    assert f"run/{name}: " in str(caught.value) and "\n" not in str(caught.value)
    expected = "format 2, this version of dualnet writes 1" if damage == "newer" else "damaged ("
    assert expected in str(caught.value)


def test_a_start_that_ends_at_any_operation_leaves_a_directory_to_begin_in(tmp_path):
    facts = [inputs.Fact("there", "what", "1")]
    for fail_at in range(100):
        run_dir = str(tmp_path / str(fail_at))
        os.makedirs(run_dir)
        fs = FaultyFs()
        fs.arm(fail_at, 28)
        try:
            identity.begin(RunDir(run_dir).piece("net1"), "dual", fs)
            identity.write(
                RunDir(run_dir).piece("net1"), identity.read_run(RunDir(run_dir)).run, 3, facts, fs
            )
        except (OSError, StorageFailed):
            pass
        fs.disarm()
        identity.begin(RunDir(run_dir).piece("net1"), "dual")
        run = identity.read_run(RunDir(run_dir)).run
        identity.write(RunDir(run_dir).piece("net1"), run, 3, facts, SYSTEM)
        assert identity.read_inputs(RunDir(run_dir).piece("net1")) == identity.Inputs(
            run, "net1", 3, {"what": "1"}
        )
        assert sorted(os.listdir(run_dir)) == ["exchange", "net1_inputs.json", "run.json"]
        if not fs.failed:
            break
    assert fail_at > 10


def test_the_first_of_several_starts_gives_the_directory_its_number(tmp_path):
    numbers = set()

    def start():
        identity.begin(RunDir(str(tmp_path)).piece("net1"), "dual")
        numbers.add(identity.read_run(RunDir(str(tmp_path))).run)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(numbers) == 1 and re.fullmatch("[0-9a-f]{32}", numbers.pop())
    assert sorted(os.listdir(tmp_path)) == ["exchange", "run.json"]


def test_all_differences_are_counted_and_the_first_is_named(tmp_path):
    before = identity.Inputs("r", "net1", 3, {"a": "1", "b": "2", "c": "f" * 64})
    same = [inputs.Fact("x", "a", "1"), inputs.Fact("y", "b", "2"), inputs.Fact("z", "c", "f" * 64)]
    identity.compare(RunDir("run"), before, same)
    with pytest.raises(ManifestMismatch) as caught:
        identity.compare(RunDir("run"), before, [*same[:1], inputs.Fact("y", "b", "3")])
    assert str(caught.value) == (
        "run: y: b is 3, was 2 when this run began (1 more differences); change it back, or choose "
        "another run directory"
    )
    with pytest.raises(ManifestMismatch, match="c is absent, was ffffffffffffffff… when"):
        identity.compare(RunDir("run"), before, same[:2])


def test_facts_are_those_of_the_net_as_used(project):
    settings = ("train.batch_size=5", "update.learning_rate=0.25", "coupling.loss=listing")
    facts = {fact.what: fact.value for fact in facts_of("net1", *settings)}
    assert facts["solver base_lr"] == "0.25"
    assert facts["layer 1 data_param.batch_size"] == "5"
    assert '"EuclideanLossLayer"' in facts.values()
    assert not [what for what in facts if "snapshot_prefix" in what or "max_iter" in what]
    assert not [value for value in facts.values() if os.getcwd() in value]


@pytest.mark.parametrize(
    ("key", "value"),
    [("kind", "triple"), ("kind", 5), ("run", None), ("max_iter", "3"), ("max_iter", 10**400),
     ("since", "x"), ("since", -1), ("facts", 5), ("facts", {"a": 1}), ("role", [])],
)  # fmt: skip
def test_sealed_values_of_another_kind_are_damage(tmp_path, key, value):
    if key == "kind" or value is None:
        fields, name, read = {"run": "r", "kind": "dual"}, "run.json", identity.read_run
        place = RunDir(str(tmp_path))
    else:
        fields = {"run": "r", "role": "net1", "max_iter": 3, "facts": {}, "since": 0}
        name, read = "net1_inputs.json", identity.read_inputs
        place = RunDir(str(tmp_path)).piece("net1")
    (tmp_path / name).write_bytes(identity._seal(fields))
    assert read(place) is not None
    (tmp_path / name).write_bytes(identity._seal({**fields, key: value}))
    with pytest.raises(ManifestMismatch, match=f"{name}: damaged"):
        read(place)
