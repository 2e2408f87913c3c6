"""Plans as pictures."""

from __future__ import annotations

import pytest

from dualnet.cut.plan.figure import check_output, draw_plan
from dualnet.errors import StorageFailed, UsageError
from tests.cut.plan.planning import planned


@pytest.mark.parametrize(("form", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_figure(small, tmp_path, form, start):
    path = tmp_path / f"plan.{form}"
    draw_plan(small, str(path))
    assert path.read_bytes().startswith(start)


@pytest.mark.parametrize("pieces", [3, 4])
def test_figure_of_a_longer_chain(tmp_path, pieces):
    path = tmp_path / "plan.png"
    draw_plan(planned(pieces=pieces, limit_bytes=10**6), str(path))
    assert path.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(UsageError, match="nothing to draw: the net cannot be cut into 6 pieces"):
        draw_plan(planned(pieces=6), str(tmp_path / "none.png"))


def test_mistakes_of_figures(small, tmp_path):
    path = str(tmp_path / "plan.png")
    with pytest.raises(UsageError, match="valid formats are png, svg, pdf"):
        draw_plan(small, str(tmp_path / "plan.gif"))
    (tmp_path / "plan.png").write_text("precious")
    with pytest.raises(UsageError, match="plan.png exists already: give --force"):
        check_output(path)
    with pytest.raises(UsageError, match="plan.png exists already: give --force"):
        draw_plan(small, path)
    draw_plan(small, path, force=True)
    with pytest.raises(StorageFailed, match="cannot write the figure"):
        draw_plan(small, str(tmp_path / "nowhere" / "plan.png"))
