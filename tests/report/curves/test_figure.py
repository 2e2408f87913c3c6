"""Figures: curves, scales and marks, and the files that they are drawn into."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dualnet.report.curves import curve
from dualnet.report.curves.curve import moving_average
from dualnet.report.log import CaffeLog
from dualnet.report.plot import plot_runs


def dashes(line):
    """A line's dashes, under whichever name the version of matplotlib has them."""
    known = getattr(line, "_dash_pattern", None) or (line._us_dashOffset, line._us_dashSeq)
    return str(known)


def test_values_far_from_the_others_are_marked_at_the_edge(figure, make_run, tmp_path):
    run = make_run("spikes", pieces=["single"], count=60, scale=1.0)
    with CaffeLog(run / "single.log") as log:
        for k, loss in ((60, 0.03), (61, 500.0), (62, 900.0), (63, 0.03), (64, 700.0)):
            log.training(k, loss, {})
    plot_runs([run], tmp_path / "a.png", smooth=1, log_scale=False)
    axis = figure().axes[0]
    line, marks = axis.lines
    assert max(line.get_ydata()) == 900.0 and axis.get_ylim()[1] < 5.0
    assert marks.get_marker() == "^" and marks.get_xdata().tolist() == [62, 64]
    assert set(marks.get_ydata()) == {axis.get_ylim()[1]} and not marks.get_clip_on()
    assert axis.get_title(loc="right") == "\u25b2 up to 900"


def test_curves_that_coincide_stay_visible(figure, make_run, tmp_path):
    runs = [make_run(name, pieces=["single"], count=20) for name in ("a", "b")]
    plot_runs(runs, tmp_path / "a.png", smooth=1)
    for axis in figure().axes:
        below, above = axis.lines
        assert below.get_linewidth() > above.get_linewidth() and dashes(below) != dashes(above)
        assert below.get_markersize() > above.get_markersize()


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


def test_curves_go_through_the_logged_values(figure, make_run, tmp_path):
    plot_runs([make_run("one", pieces=["single"], count=20)], tmp_path / "a.png", smooth=1)
    (line,) = figure().axes[0].lines
    assert line.get_xdata().tolist() == list(range(20))
    expected = [float(f"{(2 + np.sin(k)) / (k + 1):g}") for k in range(20)]
    assert line.get_ydata().tolist() == expected


def test_smoothing_keeps_the_raw_curve_faint_behind(figure, make_run, tmp_path):
    plot_runs([make_run("one", pieces=["single"])], tmp_path / "a.png", smooth=9)
    raw, average = figure().axes[0].lines
    assert raw.get_alpha() < 0.5 and average.get_alpha() is None
    np.testing.assert_array_equal(average.get_ydata(), moving_average(raw.get_ydata(), 9))
    assert len(figure().axes[1].lines) == 1  # accuracies are means already


def test_scales(figure, make_run, tmp_path):
    def scales(*arguments, **options):
        plot_runs(*arguments, tmp_path / "a.png", **options)
        return [axis.get_yscale() for axis in figure().axes]

    narrow, wide = [make_run("narrow", count=20)], [make_run("wide", count=400)]
    assert scales(narrow) == ["linear", "linear", "linear"]
    assert scales(wide) == ["log", "linear", "log"]
    assert scales(wide, log_scale=False) == ["linear", "linear", "linear"]
    assert scales(narrow, log_scale=True) == ["log", "linear", "log"]
    zero = make_run("zero", count=400)
    with CaffeLog(zero / "net1.log") as log:
        log.training(7, 0.0, {})
    assert scales(wide + [zero])[2] == "linear"  # zero has no place on a logarithmic axis


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
    runs = [make_run(f"r{k}", pieces=["single"], count=5) for k in range(20)]
    plot_runs(runs, tmp_path / "a.png")
    lines = figure().legends[0].get_lines()
    assert len({(line.get_color(), dashes(line)) for line in lines}) == 20


def test_raw_values_of_many_curves_are_left_out_of_small_panels(figure, make_run, tmp_path):
    chains = [make_run(f"r{k}", pieces=["net1", "net2", "net3"]) for k in range(4)]
    plot_runs(chains, tmp_path / "a.png", smooth=9)
    assert [len(axis.lines) for axis in figure().axes] == [8, 4, 4, 4]
    plot_runs(chains[:3], tmp_path / "a.png", smooth=9)
    assert [len(axis.lines) for axis in figure().axes] == [6, 3, 6, 6]


def test_long_curves_are_thinned(figure, tmp_path, monkeypatch):
    monkeypatch.setattr(curve, "_MOST_POINTS", 50)
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
