"""Figures: what is drawn, in which file, and what is refused."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from dualnet.errors import DualnetError, StorageFailed, UsageError
from dualnet.report.log import CaffeLog
from dualnet.report.plot import plot_runs
from tests.report.test_parse import BVLC_LOG


def _titles(figure):
    return [axis.get_title(loc="left") for axis in figure.axes]


def _notes(figure):
    """What stands in the figure beside its title and the panels' own."""
    return [text.get_text() for text in figure.texts if text is not figure._suptitle]


def test_panels_show_what_the_runs_have(figure, make_run, tmp_path):
    dual, single = make_run("dual"), make_run("single", pieces=["single"])
    labels = plot_runs([dual, single], tmp_path / "a.png", smooth=1)
    assert labels == [f"{name}: loss 0.0741, accuracy 96.9 %" for name in ("dual", "single")]
    assert _titles(figure()) == [
        "Training loss on the labels: net2 and single net",
        "Test accuracy",
        "net1: coupling loss",
    ]
    # One curve in net1's panel, two in the others.
    colours = [{line.get_color() for line in axis.lines} for axis in figure().axes]
    assert [len(found) for found in colours] == [2, 2, 1]
    assert colours[2] < colours[0] == colours[1]
    (legend,) = figure().legends
    assert [text.get_text() for text in legend.get_texts()] == labels
    plot_runs([single], tmp_path / "b.png")
    assert _titles(figure()) == ["Training loss on the labels: single net", "Test accuracy"]
    plot_runs([dual], tmp_path / "c.png", title="A title")
    assert _titles(figure())[0] == "Training loss on the labels: net2"
    assert figure()._suptitle.get_text() == "A title"
    plot_runs([BVLC_LOG], tmp_path / "d.png")
    assert _titles(figure()) == ["Training loss", "Test accuracy"]


def test_pieces_below_the_last_have_small_panels_beside_each_other(figure, make_run, tmp_path):
    chain = make_run("chain", pieces=["net1", "net2", "net3", "net4", "net5", "net6"])
    plot_runs([chain, make_run("dual"), make_run("one", pieces=["single"])], tmp_path / "a.png")
    assert _titles(figure()) == [
        "Training loss on the labels: net2, net6 and single net", "Test accuracy",
        "net1", "net2", "net4", "net5",
    ]  # fmt: skip
    assert [text.get_text() for text in figure().texts] == [
        "Lower pieces: coupling loss",
        "of another scale than the loss above; 4 of 5 drawn, others by --series net2:loss",
    ]
    # net2 is the last of the second run.
    assert [len(axis.lines) for axis in figure().axes] == [3, 3, 2, 1, 1, 1]
    places = [axis.get_position() for axis in figure().axes]
    assert len({round(place.y0, 6) for place in places}) == 3  # four beside each other
    assert all(small.height < places[0].height for small in places[2:])
    numbered = [axis.xaxis.get_major_ticks()[0].label1.get_visible() for axis in figure().axes]
    assert numbered == [False, True, True, True, True, True]
    assert len({axis.get_xlim() for axis in figure().axes}) == 1


def test_a_loss_that_only_came_down_is_not_drawn_again(figure, make_run, tmp_path):
    """With target backprop each piece's log shows the classification loss."""
    run = make_run("backprop", pieces=["net1", "net2", "net3"])
    for name in ("net1", "net2"):
        (run / f"{name}.log").write_text((run / "net3.log").read_text().replace("Test net", ""))
    plot_runs([run], tmp_path / "a.png")
    assert _titles(figure()) == ["Training loss on the labels: net3", "Test accuracy"]


def test_a_loss_is_named_for_what_it_is(figure, make_run, tmp_path):
    """Of target gradient it rose from 75 to 220 while the net learnt, on top of every figure."""
    run = make_run("a", coupling={"target": "gradient"})
    plot_runs([run], tmp_path / "a.png")
    assert _titles(figure())[2:] == ["net1: size of the gradient from above"]
    assert _notes(figure()) == ["not meant to fall (target gradient)"]
    assert figure()._suptitle.get_text() == (
        "run, 2 pieces, target gradient, tie start, alternating"
    )


def test_losses_that_are_different_things_have_panels_of_their_own(figure, make_run, tmp_path):
    rules = [{"target": "gradient"}, {"target": "activation", "tie": "never"}, None]
    runs = [make_run(f"r{k}", coupling=rule) for k, rule in enumerate(rules)]
    labels = plot_runs([*runs, make_run("x", coupling=rules[0])], tmp_path / "a.png", smooth=1)
    assert labels[0].startswith("r0, target gradient, tie start: loss ")
    assert _titles(figure())[2:] == [
        "net1: size of the gradient from above", "net1: distance to outputs from above",
        "net1: coupling loss",
    ]  # fmt: skip
    assert [len(axis.lines) for axis in figure().axes] == [4, 4, 2, 1, 1]
    assert _notes(figure()) == [
        "Own losses of the lower pieces",
        "each of its own scale, none of that of the loss on the labels",
    ]


def test_time_on_the_x_axis_is_that_of_the_training(figure, tmp_path):
    now = [1.7e9]
    with CaffeLog(tmp_path / "single.log", clock=lambda: now[0]) as log:
        for first in (0, 20):
            log.solving("net")
            for k in range(first, 40):
                log.training(k, 1.0, {"loss": 1.0})
                if k == 30 and first == 0:
                    break
                now[0] += 12.0
            now[0] += 90000.0
    plot_runs([tmp_path], tmp_path / "a.png", x="time")
    (axis,) = figure().axes
    assert axis.get_xlabel() == "time of training, min"
    np.testing.assert_allclose(axis.lines[0].get_xdata(), np.arange(40) * 0.2, atol=1e-6)


def test_numbers_at_the_axes(figure, make_run, tmp_path):
    plot_runs([make_run("a", pieces=["single"], count=5001)], tmp_path / "a.png")
    figure().canvas.draw()
    numbers = [tick.get_text() for tick in figure().axes[1].get_xticklabels()]
    assert {"0", "1,000", "5,000"} <= set(numbers)


def test_measured_fidelity_is_drawn_without_being_asked_for(figure, make_run, tmp_path):
    run = make_run("dual")
    with CaffeLog(run / "net1.log") as log:
        for k in (0, 20):
            log.training(k, 0.5, {})
            log.series({"fidelity_cosine": 0.75 + k / 100, "fidelity_ratio": 1.5})
    plot_runs([run], tmp_path / "a.png")
    assert _titles(figure())[3:] == [
        "net1: cosine between its gradient and the back-propagated gradient",
        "net1: length of its gradient over the back-propagated one's",
    ]
    np.testing.assert_allclose(figure().axes[3].lines[0].get_ydata(), [0.75, 0.95])
    plot_runs([run], tmp_path / "b.png", series=["net1:fidelity_cosine", "net1:fidelity_ratio"])
    assert len(_titles(figure())) == 5  # and not twice


def test_further_series_get_panels(figure, make_run, tmp_path):
    runs = [make_run("dual"), make_run("single", pieces=["single"])]
    plot_runs(runs, tmp_path / "a.png", series=["net1:norm", "test:loss"])
    assert _titles(figure())[3:] == ["net1:norm", "test:loss"]
    assert len(figure().axes[4].lines) == 2
    with pytest.raises(
        UsageError, match="no log has a series cosine: there are net1:loss, net1:nor"
    ):
        plot_runs(runs, tmp_path / "b.png", series=["cosine"])
    assert not (tmp_path / "b.png").exists()


def test_refusals(make_run, tmp_path, matplotlib):
    run = make_run("dual")
    with pytest.raises(UsageError, match="a.bmp: the format bmp is none of png, svg, pdf"):
        plot_runs([run], tmp_path / "a.bmp")
    with pytest.raises(UsageError, match="the format none is none of"):
        plot_runs([run], tmp_path / "a")
    (tmp_path / "net1.log").write_text("nothing\n")
    with pytest.raises(UsageError, match="nothing to draw yet"):
        plot_runs([tmp_path], tmp_path / "a.png")
    with pytest.raises(StorageFailed, match="cannot write the figure"):
        plot_runs([run], tmp_path / "net1.log" / "a.png")


def test_a_missing_matplotlib_is_told(make_run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(DualnetError, match="figures need matplotlib"):
        plot_runs([make_run("dual")], tmp_path / "a.png")
