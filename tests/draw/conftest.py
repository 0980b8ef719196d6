"""What the tests of several charts need."""

import itertools

import pytest
from matplotlib.axis import Tick
from matplotlib.text import Text


def shown_texts(figure):
    figure.draw_without_rendering()
    inside_ticks = {text for tick in figure.findobj(Tick) for text in tick.findobj(Text)}
    drawn = {
        text
        for axes in figure.axes
        if axes.axison
        for axis in (axes.xaxis, axes.yaxis)
        for tick in axis._update_ticks()
        for text in tick.findobj(Text)
    }
    hidden = inside_ticks - drawn
    return [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip() and t not in hidden]


@pytest.fixture
def check_legible():
    def check(figure):
        """Fail if two texts of a figure overlap, or one leaves the picture."""
        shown = shown_texts(figure)
        assert len(shown) > 10
        boxes = [(text.get_text(), text.get_window_extent()) for text in shown]
        for (one, box), (other, other_box) in itertools.combinations(boxes, 2):
            assert not box.overlaps(other_box), (one, other)
        for text, box in boxes:
            assert figure.bbox.x0 <= box.x0, text
            assert figure.bbox.y0 <= box.y0, text
            assert box.x1 <= figure.bbox.x1, text
            assert box.y1 <= figure.bbox.y1, text

    return check
