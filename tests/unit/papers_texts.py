"""What is written in a figure, and where."""

from itertools import combinations

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from robustloss.papers import style


def drawn_texts(figure, monkeypatch):
    """Words and extent in pixels of every text that is really drawn; ticks beyond the limits of an axis are not."""
    figure.dpi = style.PNG_DPI
    canvas = FigureCanvasAgg(figure)
    drawn = {}
    draw = Text.draw

    def record(text, renderer):
        draw(text, renderer)
        if text.get_visible() and text.get_text():
            drawn[text] = text.get_window_extent(renderer)

    monkeypatch.setattr(Text, "draw", record)
    canvas.draw()
    return [(text.get_text(), box) for text, box in drawn.items()]


def check_texts(figure, monkeypatch):
    """No text overlaps another or leaves the page."""
    found, page = drawn_texts(figure, monkeypatch), figure.bbox
    assert len(found) > 4
    for words, box in found:
        assert page.x0 - 1 <= box.x0 <= box.x1 <= page.x1 + 1, words
        assert page.y0 - 1 <= box.y0 <= box.y1 <= page.y1 + 1, words
    for (one, first), (other, second) in combinations(found, 2):
        assert not first.padded(-2).overlaps(second.padded(-2)), (one, other)
