"""Figures: what is drawn, in which file, and what is refused."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dualnet.errors import DualnetError, StorageFailed, UsageError
from dualnet.report import plot
from dualnet.report.log import CaffeLog
from dualnet.report.plot import moving_average, plot_runs
from tests.report.test_parse import BVLC_LOG


@settings(max_examples=100, deadline=None)
@given(
    values=st.lists(st.one_of(st.floats(-1e6, 1e6), st.just(np.nan), st.just(np.inf)), max_size=30),
    window=st.integers(1, 12),
)
def test_moving_average_is_the_mean_of_the_neighbours(values, window):
    values = np.array(values, np.float64)
    averages = moving_average(values, window)
    half = (window - 1) // 2
    for k, average in enumerate(averages):
        near = values[max(0, k - half) : k + half + 1]
        if np.isfinite(values[k]):
            assert average == pytest.approx(near[np.isfinite(near)].mean(), abs=1e-6)
        else:
            assert np.isnan(average)


@pytest.fixture
def figure(matplotlib, monkeypatch):
    """The figure last drawn, as matplotlib's object."""
    from matplotlib.figure import Figure

    drawn = []
    save = Figure.savefig

    def spy(self, *arguments, **options):
        drawn.append(self)
        return save(self, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", spy)
    return lambda: drawn[-1]


def _titles(figure):
    return [axis.get_title(loc="left") for axis in figure.axes]


def test_panels_show_what_the_runs_have(figure, make_run, tmp_path):
    dual, single = make_run("dual"), make_run("single", roles=["single"])
    assert plot_runs([dual, single], tmp_path / "a.png") == ["dual: 96.9 %", "single: 96.9 %"]
    assert _titles(figure()) == [
        "net1: coupling loss",
        "net2 and single net: classification loss",
        "Test accuracy",
    ]
    # One curve in net1's panel, two in the others.
    colours = [{line.get_color() for line in axis.lines} for axis in figure().axes]
    assert [len(found) for found in colours] == [1, 2, 2]
    assert colours[0] < colours[1] == colours[2]
    legend = figure().axes[0].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["dual: 96.9 %", "single: 96.9 %"]
    plot_runs([single], tmp_path / "b.png")
    assert _titles(figure()) == ["Single net: classification loss", "Test accuracy"]
    plot_runs([dual], tmp_path / "c.png", title="A title")
    assert _titles(figure())[1] == "net2: classification loss"
    plot_runs([BVLC_LOG], tmp_path / "d.png")
    assert _titles(figure()) == ["Training loss", "Test accuracy"]


def test_curves_go_through_the_logged_values(figure, make_run, tmp_path):
    plot_runs([make_run("one", roles=["single"], count=20)], tmp_path / "a.png", smooth=1)
    (line,) = figure().axes[0].lines
    assert line.get_xdata().tolist() == list(range(20))
    expected = [float(f"{(2 + np.sin(k)) / (k + 1):g}") for k in range(20)]
    assert line.get_ydata().tolist() == expected


def test_smoothing_keeps_the_raw_curve_faint_behind(figure, make_run, tmp_path):
    plot_runs([make_run("one", roles=["single"])], tmp_path / "a.png", smooth=9)
    raw, average = figure().axes[0].lines
    assert raw.get_alpha() < 0.5 and average.get_alpha() is None
    np.testing.assert_array_equal(average.get_ydata(), moving_average(raw.get_ydata(), 9))
    assert len(figure().axes[1].lines) == 1  # accuracies are means already


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
    runs = [make_run("dual"), make_run("single", roles=["single"])]
    plot_runs(runs, tmp_path / "a.png", series=["net1:norm", "test:loss"])
    assert _titles(figure())[3:] == ["net1:norm", "test:loss"]
    assert len(figure().axes[4].lines) == 2
    with pytest.raises(
        UsageError, match="no log has a series cosine: there are net1:loss, net1:nor"
    ):
        plot_runs(runs, tmp_path / "b.png", series=["cosine"])
    assert not (tmp_path / "b.png").exists()


def test_scales(figure, make_run, tmp_path):
    def scales(*arguments, **options):
        plot_runs(*arguments, tmp_path / "a.png", **options)
        return [axis.get_yscale() for axis in figure().axes]

    narrow, wide = [make_run("narrow", count=20)], [make_run("wide", count=400)]
    assert scales(narrow) == ["linear", "linear", "linear"]
    assert scales(wide) == ["log", "log", "linear"]
    assert scales(wide, log_scale=False) == ["linear", "linear", "linear"]
    assert scales(narrow, log_scale=True) == ["log", "log", "linear"]
    zero = make_run("zero", count=400, scale=0.0)
    assert scales(wide + [zero])[0] == "linear"  # zero has no place on a logarithmic axis


def test_a_run_that_diverged_is_marked(figure, make_run, tmp_path):
    labels = plot_runs([make_run("nan", diverges_at=25)], tmp_path / "a.png", smooth=1)
    assert labels == ["nan: diverged (\u00d7)"]
    line, cross = figure().axes[0].lines
    assert cross.get_marker() == "X" and cross.get_xdata().tolist() == [24]
    assert np.isnan(line.get_ydata()[25:]).all()


def test_a_run_that_diverged_at_once_and_one_that_just_started(make_run, tmp_path, matplotlib):
    with CaffeLog(tmp_path / "single.log") as log:
        log.training(0, np.inf, {"loss": np.inf})
    plot_runs([tmp_path], tmp_path / "a.png", log_scale=True)
    plot_runs([make_run("new", count=1)], tmp_path / "b.png")


def test_many_runs_differ_in_colour_or_style(figure, make_run, tmp_path):
    runs = [make_run(f"r{k}", roles=["single"], count=5) for k in range(20)]
    plot_runs(runs, tmp_path / "a.png")
    looks = {(line.get_color(), line.get_linestyle()) for line in figure().axes[0].lines}
    assert len(looks) == 20


def test_long_curves_are_thinned(figure, tmp_path, monkeypatch):
    monkeypatch.setattr(plot, "_MOST_POINTS", 50)
    with CaffeLog(tmp_path / "single.log") as log:
        for k in range(499):
            log.training(k, k, {})
    plot_runs([tmp_path], tmp_path / "a.png")
    assert [len(line.get_xdata()) for line in figure().axes[0].lines] == [50, 50]


@pytest.mark.parametrize(
    ("suffix", "start"),
    [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF"), ("PNG", b"\x89")],
)
def test_formats_are_deterministic(suffix, start, make_run, tmp_path, matplotlib):
    run = make_run("dual")
    contents = []
    for name in "ab":
        plot_runs([run], tmp_path / "new" / f"{name}.{suffix}")
        contents.append((tmp_path / "new" / f"{name}.{suffix}").read_bytes())
    assert contents[0].startswith(start)
    assert contents[0] == contents[1]
    assert len(list((tmp_path / "new").iterdir())) == 2


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


def test_a_chain_has_a_low_panel_for_each_coupled_piece(figure, make_run, tmp_path):
    chain = make_run("chain", roles=["net1", "net2", "net3", "net4"])
    plot_runs([chain, make_run("dual"), make_run("one", roles=["single"])], tmp_path / "a.png")
    assert _titles(figure()) == [
        "net1: coupling loss", "net2: coupling loss", "net3: coupling loss",
        "net2 and net4 and single net: classification loss", "Test accuracy",
    ]  # fmt: skip
    assert [len(axis.lines) for axis in figure().axes[:2]] == [2, 1]  # net2 is the dual run's last
    low, high = (figure().axes[k].get_gridspec().get_height_ratios()[k] for k in (0, 3))
    assert low < high
