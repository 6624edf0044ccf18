"""Figures: one look, alt text always, legible on a light page, a dark page and in a plain notebook.

Each chart takes numbers and returns a matplotlib ``Figure``; :func:`show` puts it on the page::

    fig = plots.lines(width, {"EWC": values}, xlabel="hidden units", ylabel="accuracy")
    plots.show(fig, alt="What is seen ...", caption="What was found ...")

Importing sets nothing globally. A figure of your own gets the look inside ``with plots.style():``.
One unit of the layout is one pixel of a figure shown at full width.
"""

from cl_lib.plots.charts import accuracy_matrix, landscape
from cl_lib.plots.curves import lines
from cl_lib.plots.look import COLOURS, SERIES, Series, style
from cl_lib.plots.page import show
from cl_lib.plots.rows import bars, beside

__all__ = [
    "COLOURS",
    "SERIES",
    "Series",
    "accuracy_matrix",
    "bars",
    "beside",
    "landscape",
    "lines",
    "show",
    "style",
]
