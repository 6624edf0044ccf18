"""A wide figure is drawn a second time for phones: one column, the same words at the same size."""

import re
from itertools import combinations
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from conftest import BOOK
from matplotlib import pyplot as plt

from cl_lib import plots
from cl_lib.metrics import interval
from cl_lib.plots.look import NARROW
from cl_lib.plots.narrow import narrowed

RNG = np.random.default_rng(0)
ALT = "Two lines over the number of hidden units; both rise and meet."
X = np.array([16.0, 64, 256, 1024])
RISING, FLAT = RNG.normal(0.8, 0.02, (2, 5, 4))
NAMES = ["a memory of gradients", "no memory"]


def lines(names=("EWC", "MAS"), **options):
    series = dict(zip(names, (RISING, FLAT), strict=True))
    return plots.lines(X, series, **({"xlabel": "hidden units", "ylabel": "accuracy"} | options))


def powers():
    x = 10.0 ** np.arange(-3, 8)
    series = {name: RNG.uniform(size=(3, 11)) for name in NAMES}
    return plots.lines(x, series, xlabel="λ", ylabel="accuracy", log_x=True)


def uneven():
    x = np.array([0.001, 0.03, 1, 20, 100, 3000, 1e6])
    return plots.lines(x, {"EWC": RNG.uniform(size=(3, 7))}, xlabel="λ", ylabel="accuracy", log_x=True)


def small_steps():
    x = np.linspace(0, 0.2, 9)
    return plots.lines(x, {"down": RNG.uniform(size=(3, 9))}, xlabel="ε", ylabel="accuracy")


def bars(**options):
    series = {"EWC, one anchor for each task": RISING[:, 0], "a": FLAT[:, 0], "b": interval(FLAT[:, 1])}
    return plots.bars(series, xlabel="accuracy", references={"chance": 0.79}, digits=4, **options)


def beside():
    rows = {f"task 1 after task {k}, AD + EWC": (0.2 * k, interval(RISING[:, k]), "met") for k in range(4)}
    groups = {"permuted MNIST, 10 tasks, as SI's authors train": rows, "disjoint MNIST": rows}
    looks = {"met": "task 1", "partly": "task 2", "not": "task 3", "above": "task 4"}
    return plots.beside(groups, verdicts=looks, xlabel="accuracy", xlim=(0, 1))


def landscape():
    losses = {"A": lambda x, y: (x - 1) ** 2 + (y - 1) ** 2, "B": lambda x, y: (x - 3) ** 2}
    frame = {"xlim": (0, 4), "ylim": (0, 2), "xlabel": "θ₁", "ylabel": "θ₂"}
    return plots.landscape(losses, {"EWC": [(1, 1), (2, 1)]}, {"start": (1, 1)}, **frame)


def panels():
    with plots.style():
        fig, axes = plt.subplots(2, 1, figsize=(8.6, 7.2))
    for ax in axes:
        lines(NAMES, ax=ax)
    return fig


CHARTS = {
    "lines": lines,
    "long names": lambda: lines(NAMES),
    "tasks": lambda: lines(boundaries=[300, 600, 1024]),
    "powers": powers,
    "uneven": uneven,
    "small steps": small_steps,
    "bars": bars,
    "beside": beside,
    "landscape": landscape,
    "matrix of four": lambda: plots.accuracy_matrix(RNG.uniform(size=(4, 4, 4))),
    "named matrix": lambda: plots.accuracy_matrix(
        RNG.uniform(size=(4, 5, 5)), names=["shirts", "trousers", "pullovers", "dresses", "coats"]
    ),
    "panels": panels,
    "matrix of five": lambda: plots.accuracy_matrix(RNG.uniform(size=(4, 5, 5))),
    "matrix of ten": lambda: plots.accuracy_matrix(RNG.uniform(size=(4, 10, 10))),
}


def drawings(fig):
    root = ElementTree.fromstring(plots.show(fig, alt=ALT).data)
    return root, root.findall("{*}svg")


def words(svg):
    return {"".join(text.itertext()) for text in svg.findall(".//{*}text")}


def boxes(fig):
    """The words that are seen, with the boxes around them."""
    fig.draw_without_rendering()
    outside = set()
    for axis in [axis for ax in fig.axes for axis in (ax.xaxis, ax.yaxis)]:
        low, high = sorted(axis.get_view_interval())
        for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
            if not low <= tick.get_loc() <= high:
                outside |= {tick.label1, tick.label2}
    seen = [t for t in fig.findobj(mpl.text.Text) if t.get_visible() and t.get_text().strip()]
    return [(t.get_text(), t.get_window_extent()) for t in seen if t not in outside]


@pytest.mark.parametrize("chart", CHARTS.values(), ids=CHARTS)
def test_a_wide_figure_is_drawn_twice(chart):
    root, (wide, narrow) = drawings(chart())
    assert root.get("class") == "cl-figure cl-wide"
    assert "display: block" in wide.get("style") and "display: none" in narrow.get("style")
    assert wide.get("aria-label") == narrow.get("aria-label") == ALT
    assert float(narrow.get("viewBox").split()[2]) == NARROW < float(wide.get("viewBox").split()[2])


@pytest.mark.parametrize("chart", [CHARTS[name] for name in CHARTS if "matrix" not in name])
def test_both_drawings_say_the_same(chart):
    ticks = r"[-−\d.·⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+"
    wide, narrow = ({w for w in words(svg) if not re.fullmatch(ticks, w)} for svg in drawings(chart())[1])
    assert wide == narrow


@pytest.mark.parametrize(
    "names, columns, rotation",
    [(None, ["1", "2", "3", "4", "5"], 0), (["shirts of cotton", "b", "c", "d", "e"], None, 90)],
)
def test_a_narrow_matrix_keeps_its_numbers_and_says_what_rows_and_columns_are(names, columns, rotation):
    fig = plots.accuracy_matrix(RNG.uniform(size=(4, 5, 5)), names=names)
    ax = narrowed(fig).axes[0]
    assert [text.get_text() for text in ax.texts] == [text.get_text() for text in fig.axes[0].texts]
    assert [label.get_text() for label in ax.get_xticklabels()] == (columns or names)
    assert [label.get_text() for label in ax.get_yticklabels()] == (columns or names)
    assert ax.get_xticklabels()[0].get_rotation() == rotation
    assert ax.get_title(loc="left") == "accuracy in % after (row) on (column)"


@pytest.mark.parametrize("chart", CHARTS.values(), ids=CHARTS)
def test_words_of_the_narrow_drawing_stay_inside_and_apart(chart):
    fig = narrowed(chart())
    placed = boxes(fig)
    assert len(placed) > 5
    for word, box in placed:
        assert box.x0 >= -1 and box.x1 <= NARROW + 1, word
        assert box.y0 >= -1 and box.y1 <= fig.bbox.height + 1, word
    for (one, box), (other, its) in combinations(placed, 2):
        width = 4 + min(box.x1, its.x1) - max(box.x0, its.x0)  # side by side they need a gap
        height = min(box.y1, its.y1) - max(box.y0, its.y0)
        assert min(width, height) < 2, (one, other)


def test_the_check_of_words_finds_what_it_is_for():
    with plots.style():
        fig, ax = plt.subplots(figsize=(NARROW / 72, 3))
    ax.text(0.5, 0.5, "one")
    ax.text(0.5, 0.51, "other")
    placed = dict(boxes(fig))
    assert placed["one"].overlaps(placed["other"])
    ax.texts[0].set_x(1.3)
    assert dict(boxes(fig))["one"].x1 > NARROW


def test_showing_changes_nothing_in_the_figure():
    fig = bars()
    size, first = fig.get_size_inches().tolist(), drawings(fig)[1]
    assert fig.get_size_inches().tolist() == size
    assert [words(svg) for svg in drawings(fig)[1]] == [words(svg) for svg in first]


def test_what_is_changed_in_a_chart_is_in_both_drawings():
    for fig in (lines(), lines(log_x=True)):
        fig.axes[0].set_xticks([16, 1024], ["few", "many"])
        fig.axes[0].set_title("another title", loc="left")
        for svg in drawings(fig)[1]:
            assert {"few", "many", "another title"} <= words(svg)
    fig = bars()
    fig.axes[0].set_yticks([0, 1, 2], ["first", "second", "third"])
    for svg in drawings(fig)[1]:
        assert {"first", "second", "third"} <= words(svg)


def test_long_names_move_into_a_legend_and_short_ones_stay_at_their_lines():
    assert narrowed(lines()).axes[0].get_legend() is None
    ax = narrowed(lines(NAMES)).axes[0]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == NAMES
    assert [h.get_color() for h in ax.get_legend().legend_handles] == [h.get_color() for h in ax.lines]
    assert not ax.texts


@pytest.mark.parametrize("chart", [bars, beside])
def test_rows_have_the_whole_width(chart):
    wide, narrow = chart(), narrowed(chart())
    for fig in (wide, narrow):
        fig.draw_without_rendering()
    assert wide.axes[0].bbox.width < 0.7 * wide.bbox.width
    assert narrow.axes[0].bbox.width > 0.9 * NARROW


def test_two_panels_stand_one_under_the_other_and_four_in_two_columns():
    for n, places in ((2, [(0, 0), (1, 0)]), (4, [(0, 0), (0, 1), (1, 0), (1, 1)])):
        with plots.style():
            fig, axes = plt.subplots(1, n, figsize=(9, 3))
        for k, ax in enumerate(axes):
            ax.set_title(f"panel {k}", loc="left")
        narrow = narrowed(fig)
        fig.draw_without_rendering()
        narrow.draw_without_rendering()
        spots = [ax.get_subplotspec() for ax in narrow.axes]
        assert [(s.rowspan.start, s.colspan.start) for s in spots] == places
        assert [ax.get_title(loc="left") for ax in narrow.axes] == [f"panel {k}" for k in range(n)]
        shapes = [f.axes[0].bbox.width / f.axes[0].bbox.height for f in (fig, narrow)]
        assert shapes[1] == pytest.approx(shapes[0], rel=0.2)


def numbered(ax):
    """Whether numbers stand at the left."""
    return ax.yaxis.get_major_ticks()[0].label1.get_visible()


def test_the_title_of_a_panel_keeps_its_distance_from_the_one_above():
    with plots.style():
        fig, axes = plt.subplots(1, 2, figsize=(9, 3))
    for ax in axes:
        ax.set(xlabel="below", title="above")
    narrow = narrowed(fig)
    narrow.draw_without_rendering()
    below = narrow.axes[0].xaxis.label.get_window_extent()
    above = narrow.axes[1].title.get_window_extent()
    assert below.y0 - above.y1 > 8


def test_panels_that_shared_the_numbers_of_one_axis_have_them_each():
    with plots.style():
        fig, axes = plt.subplots(1, 2, figsize=(9, 3), sharey=True)
    axes[0].set_ylim(0, 7)
    assert [numbered(ax) for ax in narrowed(fig).axes] == [True, True]
    assert [numbered(ax) for ax in axes] == [True, False]
    with plots.style():
        fig, axes = plt.subplots(1, 4, figsize=(9, 3), sharey=True)
    assert [numbered(ax) for ax in narrowed(fig).axes] == [True, False, True, False]


def test_panels_one_under_the_other_have_their_own_numbers():
    with plots.style():
        fig, axes = plt.subplots(2, 2, figsize=(9, 5), sharex="col")
    axes[0, 1].set_xlim(0, 100)
    narrow = narrowed(fig)
    for ax in narrow.axes:
        assert ax.xaxis.get_major_ticks()[0].label1.get_visible()


def test_the_right_hand_axes_of_two_panels_stay_on_the_right():
    with plots.style():
        fig, axes = plt.subplots(1, 2, figsize=(9, 3))
    right = [ax.twinx() for ax in axes]
    right[1].sharey(right[0])
    assert not any(numbered(ax) for ax in narrowed(fig).axes[2:])


@pytest.mark.parametrize("rows, columns, places", [(1, 3, [(0, 0), (1, 0), (2, 0)]), (2, 5, None)])
def test_an_odd_number_of_columns_keeps_rows_together(rows, columns, places):
    fig, axes = plt.subplots(rows, columns, figsize=(9, 4))
    spots = [ax.get_subplotspec() for ax in narrowed(fig).axes]
    of_ten = [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (3, 0), (3, 1), (4, 0), (4, 1), (5, 0)]
    assert [(s.rowspan.start, s.colspan.start) for s in spots] == (places or of_ten)


def test_a_colour_bar_follows_its_panels():
    with plots.style():
        fig, axes = plt.subplots(1, 3, figsize=(9, 3))
    for ax in axes:
        image = ax.imshow(np.eye(3))
    fig.colorbar(image, ax=axes)
    narrow = narrowed(fig)
    narrow.draw_without_rendering()
    assert narrow.axes[0].bbox.width > 200
    assert narrow.axes[3].bbox.x0 > narrow.axes[0].bbox.x1


def spanning():
    fig = plt.figure(figsize=(9, 3))
    grid = fig.add_gridspec(2, 2)
    for place in (grid[0, :], grid[1, 0], grid[1, 1]):
        fig.add_subplot(place)
    return fig


def of_parts():
    fig = plt.figure(figsize=(9, 3), layout="constrained")
    for part in fig.subfigures(1, 2):
        part.subplots()
    return fig


def formatted():
    fig, ax = plt.subplots(figsize=(9, 3))
    ax.xaxis.set_major_formatter(lambda value, place: f"{value} m")
    return fig


class NoCopy(str):
    def __reduce__(self):
        raise ValueError("not to be copied")


def unwilling():
    fig, _ = plt.subplots(figsize=(9, 3))
    fig.note = NoCopy()
    return fig


@pytest.mark.parametrize("figure", [spanning, of_parts, formatted, unwilling])
def test_a_figure_that_cannot_be_laid_out_anew_is_drawn_once(figure):
    root, svgs = drawings(figure())
    assert root.get("class") == "cl-figure" and len(svgs) == 1


def test_charts_in_own_axes_keep_the_height_of_the_figure():
    with plots.style():
        fig, axes = plt.subplots(2, 1, figsize=(8.6, 7.2))
    for ax in axes:
        bars(ax=ax)
    narrow = narrowed(fig)
    assert narrow.get_size_inches().tolist() == pytest.approx([NARROW / 72, 7.2])
    assert all(len(ax.get_yticks()) == 0 for ax in narrow.axes)


def without_names(fig):
    fig.axes[0].texts[0].remove()


def cleared(fig):
    fig.axes[0].clear()


def without_legend(fig):
    for legend in [*fig.legends, fig.axes[0].get_legend()]:
        if legend:
            legend.remove()


def without_axes(fig):
    fig.axes[0].remove()


def fewer_rows(fig):
    fig.axes[0].set_yticks([0.5], ["first"])


def without_layout(fig):
    fig.set_layout_engine("none")


EDITS = [without_names, cleared, without_legend, without_axes, fewer_rows, without_layout]


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("chart", CHARTS.values(), ids=CHARTS)
def test_a_chart_that_was_edited_is_shown(chart, edit):
    fig = chart()
    if edit is not without_names or fig.axes[0].texts:
        edit(fig)
    assert len(drawings(fig)[1]) == 2


def test_an_edited_chart_is_edited_in_both_drawings():
    fig = lines()
    fig.axes[0].texts[0].set_text("renamed")
    for svg in drawings(fig)[1]:
        assert "renamed" in words(svg) and "EWC" not in words(svg)
    fig = lines(NAMES)
    fig.axes[0].axhline(0.8, label="chance")
    fig.axes[0].legend()
    for svg in drawings(fig)[1]:
        assert {"chance", *NAMES} <= words(svg)
    fig = plots.accuracy_matrix(RNG.uniform(size=(5, 5)))
    fig.axes[0].set_title("exactness in %")
    fig.axes[0].set_yticks([0.5, 4.5], ["first", "last"])
    for svg in drawings(fig)[1]:
        assert {"exactness in %", "first", "last"} <= words(svg)
    fig = landscape()
    fig.axes[0].get_legend().remove()
    assert narrowed(fig).axes[0].get_legend() is None
    fig = bars()
    fig.axes[0].set_ylim(2.5, -2)
    assert narrowed(fig).axes[0].get_ylim() == pytest.approx((2.5, -2.1))


def test_two_charts_in_the_same_axes_are_both_named():
    with plots.style():
        fig, ax = plt.subplots(figsize=(9, 4))
    lines(NAMES, ax=ax)
    plots.lines(X, {"joint training of all": RISING}, xlabel="units", ylabel="accuracy", ax=ax)
    assert {*NAMES, "joint training of all"} <= words(drawings(fig)[1][1])


def test_a_line_that_ends_early_is_named_where_it_ends():
    ends = FLAT.copy()
    ends[:, 1:] = np.nan
    fig = plots.lines(X, {"EWC": RISING, "MAS": ends}, xlabel="units", ylabel="accuracy")
    assert narrowed(fig).axes[0].get_legend() is None


def test_the_legend_stays_clear_of_a_label_of_two_lines():
    ax = narrowed(lines(NAMES, xlabel="hidden units\n(of a layer)")).axes[0]
    ax.figure.draw_without_rendering()
    assert not ax.xaxis.label.get_window_extent().overlaps(ax.get_legend().get_window_extent())


def test_rows_and_uprights_of_published_numbers_keep_clear_of_names():
    fig = beside()
    wide, narrow = ([line.get_ydata() for line in f.axes[0].lines[::2]] for f in (fig, narrowed(fig)))
    np.testing.assert_allclose(np.subtract(narrow, wide), [[0.2, 0]] * 8)


@pytest.mark.parametrize("chart, height", [(bars, 50), (beside, 30)])
def test_rows_with_a_name_above_have_room_for_it(chart, height):
    fig = narrowed(chart())
    fig.draw_without_rendering()
    ax = fig.axes[0]
    assert ax.bbox.height / abs(np.subtract(*ax.get_ylim())) > height


def test_a_legend_takes_no_height_from_its_axes_and_no_more_lines_than_it_needs():
    one, two = narrowed(lines(NAMES)), narrowed(lines(["gradients", "no memory at all"]))
    for fig in (one, two):
        fig.draw_without_rendering()
        assert fig.axes[0].bbox.height > 240
    first, second = one.axes[0].get_legend().get_texts()
    assert first.get_window_extent().y0 > second.get_window_extent().y1
    first, second = two.axes[0].get_legend().get_texts()
    assert first.get_window_extent().y0 == second.get_window_extent().y0


def test_the_numbers_of_many_cells_are_smaller():
    few, many = (
        narrowed(plots.accuracy_matrix(RNG.uniform(size=(4, n, n)))).axes[0].texts[0].get_fontsize()
        for n in (5, 10)
    )
    assert 8 < many < 11 < few


def test_a_landscape_beside_another_leaves_the_height_alone():
    with plots.style():
        fig, axes = plt.subplots(2, 1, figsize=(8.6, 10))
    losses = {"A": lambda x, y: (x - 1) ** 2 + (y - 1) ** 2}
    for ax in axes:
        plots.landscape(losses, xlim=(0, 4), ylim=(0, 2), xlabel="x", ylabel="y", ax=ax)
    assert narrowed(fig).get_figheight() > 10


def test_a_matrix_with_long_names_stays_legible():
    names = ["shirts", "trousers", "pullovers", "dresses " * 9, "coats"]
    ax = narrowed(plots.accuracy_matrix(RNG.uniform(size=(4, 5, 5)), names=names)).axes[0]
    assert min(text.get_fontsize() for text in ax.texts) >= 6


def test_no_figure_stays_open_also_where_drawing_fails(monkeypatch):
    others = set(plt.get_fignums())
    fig, _ = plt.subplots(figsize=(9, 3))
    plots.show(fig, alt=ALT)
    assert set(plt.get_fignums()) == others
    fig, _ = plt.subplots(figsize=(9, 3))
    monkeypatch.setattr("cl_lib.plots.page._themed_svg", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        plots.show(fig, alt=ALT)
    assert set(plt.get_fignums()) == others


@pytest.mark.parametrize("width, theirs", [(1280, 0), (541, 0), (540, 1), (375, 1), (320, 1)])
def test_the_browser_shows_the_drawing_that_fits(browser, width, theirs):
    styles = (BOOK / "assets" / "figures.css").read_text("utf8")
    small = plots.accuracy_matrix(np.eye(2))
    pictures = "".join(plots.show(fig, alt=ALT).data for fig in (lines(), small))
    with browser.new_context(viewport={"width": width, "height": 800}) as context:
        page = context.new_page()
        page.set_content(f"<style>{styles}</style><body style='margin: 16px'>{pictures}")
        seen = [svg.is_visible() for svg in page.locator("svg[role=img]").all()]
        assert seen == [theirs == 0, theirs == 1, True]
        heights = [t.bounding_box()["height"] for t in page.locator("svg[role=img] text:visible").all()]
        assert min(heights) > (10.5 if width > 320 else 9)
        page.emulate_media(media="print")
        assert page.locator("svg[role=img]").first.is_visible()
