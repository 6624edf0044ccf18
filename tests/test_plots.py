"""Figures: what show() puts on the page, the palette against both themes, and what charts draw."""

import re
from dataclasses import replace
from itertools import pairwise
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from contrast import contrast
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.text import Text

from cl_lib import plots
from cl_lib.metrics import interval
from cl_lib.plots import curves, look
from cl_lib.plots.page import INK

pytestmark = pytest.mark.filterwarnings("error")

ALT = "Two lines over the width: one rises to ninety percent, the other stays at forty."
X = np.array([16, 32, 64])
RNG = np.random.default_rng(0)
EWC, PLAIN = RNG.uniform(0.8, 0.9, (5, 3)), RNG.uniform(0.3, 0.4, (5, 3))


def two_lines(scale=1.0, **options):
    series = {"EWC": scale * EWC, "finetune": scale * PLAIN}
    return plots.lines(X, series, xlabel="hidden units", ylabel="accuracy", **options)


def svg_of(fig, **options):
    page = plots.show(fig, alt=ALT, **options).data
    return ElementTree.fromstring(page).find("{http://www.w3.org/2000/svg}svg")


def words_of(fig):
    return ["".join(text.itertext()) for text in svg_of(fig).findall(".//{*}text")]


def ids_of(page):
    return re.findall(r'\bid="([^"]+)"', page)


def look_of(line):
    return look.Series(line.get_color(), line.get_linestyle(), line.get_marker())


def dot_of(name):
    return replace(plots.SERIES[name], linestyle="None")


def colours_of(collection):
    return {mpl.colors.to_hex(c) for c in (*collection.get_facecolor(), *collection.get_edgecolor())}


def by_hand():
    """A figure made without the style: black on white, with a filled marker and a picture."""
    fig, ax = plt.subplots()
    ax.plot([0, 1], [0, 1], "ko-", markerfacecolor="white")
    ax.imshow(np.eye(3), extent=(0, 1, 0, 1))
    ax.set_title("a < b & c")
    return fig


CHARTS = {
    "lines": two_lines,
    "log": lambda: two_lines(log_x=True),
    "matrix": lambda: plots.accuracy_matrix(RNG.uniform(size=(4, 3, 3))),
    "bars": lambda: plots.bars({"EWC": EWC[0]}, xlabel="accuracy", references={"chance": 0.1}),
    "beside": lambda: plots.beside(
        {"first": {"a": (0.5, interval(EWC[0]), "good")}}, verdicts={"good": "task 3"}, xlabel="accuracy"
    ),
    "landscape": lambda: bowls(paths={"EWC": [(1, 1), (2, 1)]}, points={"start": (1, 1)}),
    "by hand": by_hand,
}


def bowls(**options):
    losses = {"A": lambda x, y: (x - 1) ** 2 + (y - 1) ** 2, "B": lambda x, y: (x - 3) ** 2}
    frame = {"xlim": (0, 4), "ylim": (0, 2), "xlabel": "θ₁", "ylabel": "θ₂"}
    return plots.landscape(losses, **(frame | options))


# --- show


@pytest.mark.parametrize("alt", ["", "too short", "x" * 39, "x" * 251, " " * 60, None])
def test_alt_text_is_refused_unless_it_says_enough(alt):
    length = len((alt or "").strip())
    with pytest.raises(ValueError, match=f"alt has {length} characters, but must have 40 to 250"):
        plots.show(Figure(), alt=alt)


@pytest.mark.parametrize("alt", ["x" * 40, "x" * 250])
def test_alt_text_at_the_limits(alt):
    assert f'aria-label="{alt}"' in plots.show(Figure(), alt=alt).data


def test_alt_text_is_mandatory():
    with pytest.raises(TypeError, match="alt"):
        plots.show(Figure())


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"fig": "figure.png"}, TypeError, "fig is a str, but must be a matplotlib Figure"),
        ({"caption": "  "}, ValueError, "caption is '  ', but must be a sentence"),
        ({"caption": 3}, ValueError, "caption is 3, but must be a sentence"),
        ({"name": "2 figures"}, ValueError, "name is '2 figures', but must be a letter, then"),
    ],
)
def test_wrong_arguments_of_show(wrong, error, message):
    with pytest.raises(error, match=message):
        plots.show(**({"fig": Figure(), "alt": ALT} | wrong))


@pytest.mark.parametrize("chart", CHARTS.values(), ids=CHARTS)
def test_svg_belongs_to_the_page(chart):
    page = plots.show(chart(), alt=ALT, caption="A finding.", name="figure").data
    root = ElementTree.fromstring(page)
    assert root.tag == "figure"
    assert root.get("id") == "figure"
    svgs = root.findall("{*}svg")
    assert svgs
    for svg in svgs:
        assert (svg.get("role"), svg.get("aria-label")) == ("img", ALT)
        assert svg.get("viewBox")
        assert "width" not in svg.attrib
        assert "max-width" in svg.get("style")
    assert not re.search(r"#000000|#ffffff|DejaVu|<style|metadata|Matplotlib", page)
    assert not re.search(r'(?:href|src)="(?!#|data:)|url\((?!#)|@import', page)
    assert page.count("http") == len(svgs)  # the SVG name space


@pytest.mark.parametrize("chart", CHARTS.values(), ids=CHARTS)
def test_every_id_is_used_and_every_reference_is_found(chart):
    page = plots.show(chart(), alt=ALT).data
    ids = ids_of(page)
    assert len(ids) == len(set(ids)) > 0
    assert set(ids) == set(re.findall(r'(?:url\(|href=")#([^")]+)', page))


def test_same_figure_gives_the_same_characters():
    assert plots.show(two_lines(), alt=ALT).data == plots.show(two_lines(), alt=ALT).data


def test_different_figures_share_no_id():
    first, second = (plots.show(two_lines(scale), alt=ALT).data for scale in (1, 0.9))
    assert not set(ids_of(first)) & set(ids_of(second))


def test_backgrounds_are_removed_and_other_white_follows_the_page():
    filled = [
        element.get("style")
        for element in svg_of(by_hand()).iter()
        if "fill: var(--cl-paper)" in element.get("style", "")
    ]
    assert len(filled) == 2  # the two markers; not the figure's and the axes' white


def test_a_coloured_background_is_kept():
    fig = Figure(facecolor="#d55e00")
    assert "fill: #d55e00" in plots.show(fig, alt=ALT).data


def test_text_stays_text_in_the_font_of_the_page():
    fig = two_lines()
    assert {"EWC", "finetune", "hidden units", "accuracy"} <= set(words_of(fig))
    for text in svg_of(two_lines()).findall(".//{*}text"):
        assert "font-size: 12px" in text.get("style")
        assert "font-family" not in text.get("style")


def test_caption_is_escaped_and_emphasised():
    caption = "EWC < joint & *much* < **all**: θ* and λ*, 2 * 3 * 4"
    page = plots.show(Figure(), alt=ALT, caption=caption).data
    shown = "EWC &lt; joint &amp; <em>much</em> &lt; <strong>all</strong>: θ* and λ*, 2 * 3 * 4"
    assert shown in page
    assert "figcaption" not in plots.show(Figure(), alt=ALT).data


def test_alt_text_is_escaped():
    alt = 'The "joint" line stays above < all the others & never crosses one of them.'
    page = plots.show(Figure(), alt=alt).data
    assert ElementTree.fromstring(page).find("{*}svg").get("aria-label") == alt


def test_show_closes_the_figure():
    fig = plt.figure()
    plots.show(fig, alt=ALT)
    assert not plt.fignum_exists(fig.number)


def test_small_figures_are_not_marked_wide():
    assert 'class="cl-figure cl-wide"' in plots.show(two_lines(), alt=ALT).data
    small = plots.accuracy_matrix(np.eye(2))
    assert 'class="cl-figure"' in plots.show(small, alt=ALT).data


def test_charts_leave_the_settings_of_matplotlib_alone():
    before = dict(mpl.rcParams)
    for chart in CHARTS.values():
        plots.show(chart(), alt=ALT)
    assert dict(mpl.rcParams) == before
    with plots.style():
        assert dict(mpl.rcParams) != before
    assert dict(mpl.rcParams) == before


# --- palette


def test_contrast_against_known_values():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


# Page and text colours of sphinx-book-theme, and the dark page of its parent theme.
PAGES = {
    "light": ("#ffffff", "#222832"),
    "dark": ("#121212", "#ced6dd"),
    "pydata": ("#14181e", "#ced6dd"),
}


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("role", plots.COLOURS)
def test_lines_and_words_can_be_seen_on_both_themes(role, page):
    paper, text = PAGES[page]
    colour = plots.COLOURS[role]
    assert contrast(colour, paper) >= 3
    ink, rest = (np.array(mpl.colors.to_rgb(c)) for c in (colour, text))
    assert contrast(INK * ink + (1 - INK) * rest, paper) >= 4.5


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("accuracy", [0.0, 0.5, 1.0])
def test_numbers_in_matrix_cells_can_be_read(page, accuracy):
    fig = plots.accuracy_matrix([[accuracy]])
    red, green, blue, alpha = fig.axes[0].collections[0].get_array().reshape(4)
    paper, text = PAGES[page]
    cell = alpha * np.array([red, green, blue]) + (1 - alpha) * np.array(mpl.colors.to_rgb(paper))
    assert contrast(cell, text) >= 4.5


def test_each_series_has_a_dash_and_marker_of_its_own():
    looks = set(plots.SERIES.values())
    assert len({(look.linestyle, look.marker) for look in looks}) == len(looks)
    assert plots.SERIES["A"] == plots.SERIES["task 1"]
    assert plots.SERIES["B"] == plots.SERIES["task 2"]


def test_coloured_words_are_mixed_with_the_text_colour():
    page = plots.show(two_lines(), alt=ALT).data
    colour = plots.COLOURS["EWC"]
    assert f"fill: {colour}; fill: color-mix(in srgb, {colour} 65%, currentColor)" in page


# --- lines


def test_lines_draw_the_mean_and_its_interval():
    ax = two_lines().axes[0]
    for line, band, values in zip(ax.lines, ax.collections, (EWC, PLAIN), strict=True):
        np.testing.assert_allclose(line.get_ydata(), values.mean(0))
        low, high = (
            band.get_paths()[0].vertices[:, 1].min(),
            band.get_paths()[0].vertices[:, 1].max(),
        )
        expected = [interval(column) for column in values.T]
        assert low == pytest.approx(min(i.low for i in expected))
        assert high == pytest.approx(max(i.high for i in expected))


def test_lines_have_the_looks_words_and_limits_that_were_asked_for():
    series = {"EWC": EWC, "L2": PLAIN}
    ax = plots.lines(X, series, xlabel="hidden units", ylabel="accuracy", ylim=(0.2, 1)).axes[0]
    for name, line, band, text in zip(series, ax.lines, ax.collections, ax.texts, strict=True):
        assert look_of(line) == plots.SERIES[name]
        assert colours_of(band) == {plots.COLOURS[name]}
        assert (text.get_text(), text.get_color()) == (name, plots.COLOURS[name])
    assert (ax.get_xlabel(), ax.get_title("left"), ax.get_ylim()) == ("hidden units", "accuracy", (0.2, 1))


def test_lines_accept_intervals_and_objects_with_ends():
    class Ends:
        mean, low, high = EWC.mean(0), EWC.min(0), EWC.max(0)

    series = {"EWC": [interval(column) for column in EWC.T], "MAS": Ends}
    ax = plots.lines(X, series, xlabel="x", ylabel="y").axes[0]
    for line in ax.lines:
        np.testing.assert_allclose(line.get_ydata(), EWC.mean(0))
    assert ax.collections[1].get_paths()[0].vertices[:, 1].max() == EWC.max()


def test_lines_accept_a_table_with_named_columns():
    table = pd.DataFrame(EWC, columns=["few", "some", "many"])
    ax = plots.lines(X, {"EWC": table}, xlabel="x", ylabel="y").axes[0]
    np.testing.assert_allclose(ax.lines[0].get_ydata(), EWC.mean(0))


def test_a_single_replica_has_a_line_and_no_band():
    ax = plots.lines(X, {"EWC": EWC[:1]}, xlabel="x", ylabel="y").axes[0]
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), EWC[0])
    assert not any(len(path.vertices) for path in ax.collections[0].get_paths())


def test_a_gap_is_left_where_nothing_was_measured():
    values = EWC.copy()
    values[:, 2] = np.nan
    fig = plots.lines(X, {"EWC": values}, xlabel="x", ylabel="y")
    np.testing.assert_array_equal(np.isnan(fig.axes[0].lines[0].get_ydata()), [False, False, True])
    assert fig.axes[0].texts[0].xy[0] == X[1]
    with pytest.raises(ValueError, match="'EWC' is NaN everywhere"):
        plots.lines(X, {"EWC": np.full((2, 3), np.nan)}, xlabel="x", ylabel="y")


def test_a_diverged_replica_is_refused():
    values = EWC.copy()
    values[0, 1] = np.nan
    with pytest.raises(ValueError, match="a replica diverged"):
        plots.lines(X, {"EWC": values}, xlabel="x", ylabel="y")


@pytest.mark.parametrize(
    ("series", "message"),
    [
        ({}, "got {}, but expected a dict with an entry for each label"),
        ([EWC], "but expected a dict with an entry for each label"),
        ({"EWC": EWC[0]}, r"'EWC' has shape \(3,\), but must be \(replicas, points\)"),
        ({"EWC": np.zeros((0, 3))}, "'EWC' has no replicas: give at least one"),
        ({"EWC": []}, r"'EWC' has shape \(0,\), but must be \(replicas, points\)"),
        ({"EWC": EWC[:, :2]}, "'EWC' has 2 points, but 3 are needed"),
        ({"EWC": [interval(EWC[:, 0])]}, "'EWC' has 1 points, but 3 are needed"),
    ],
)
def test_lines_refuse_what_does_not_fit(series, message):
    with pytest.raises(ValueError, match=message):
        plots.lines(X, series, xlabel="x", ylabel="y")


def test_log_axis_names_its_ticks_in_plain_text():
    assert {"16", "32", "64"} <= set(words_of(two_lines(log_x=True)))
    powers = 10.0 ** np.arange(-6, 8)
    fig = plots.lines(powers, {"EWC": np.ones((2, 14))}, xlabel="λ", ylabel="y", log_x=True)
    words = words_of(fig)
    assert "10⁶" in words
    assert "10⁻⁴" in words
    assert "1" in words
    assert not any("$" in word for word in words)
    fine = plots.lines(np.linspace(2, 9, 10), {"EWC": np.ones((2, 10))}, xlabel="λ", ylabel="y", log_x=True)
    assert {"2", "9"} <= set(words_of(fine))
    with pytest.raises(ValueError, match="log_x needs positive x, but x goes down to 0"):
        plots.lines([0, 1, 2], {"EWC": EWC}, xlabel="λ", ylabel="y", log_x=True)


@pytest.mark.parametrize("ends", [[30, 50], [30, 50, 64], [16, 30, 50], {"A": 30, "B": 50, "C": 64}])
def test_boundaries_are_the_switches_inside(ends):
    fig = two_lines(boundaries=ends)
    ax = fig.axes[0]
    assert [line.get_xdata()[0] for line in ax.lines[2:]] == [30, 50]
    named = list(ends) if isinstance(ends, dict) else ["task 1", "2", "3"]
    assert [text.get_text() for text in ax.texts[:3]] == named
    assert [text.get_position()[0] for text in ax.texts[:3]] == [23, 40, 57]


def test_the_last_task_may_end_after_the_last_measurement():
    ax = two_lines(boundaries=[30, 50, 70]).axes[0]
    assert [line.get_xdata()[0] for line in ax.lines[2:]] == [30, 50]


@pytest.mark.parametrize(
    "ends", [[50, 30], {"A": 30, "B": 50}, [5, 30], {"A": 5, "B": 30}, [30, 64, 70], [30, 70, 80]]
)
def test_boundaries_that_do_not_fit(ends):
    with pytest.raises(ValueError, match="must be rising x between 16 and 64, one for each task"):
        two_lines(boundaries=ends)


def test_labels_at_the_ends_do_not_overlap():
    series = {name: np.full((2, 3), 0.9) for name in ("EWC", "MAS", "L2", "joint")}
    fig = plots.lines(X, series, xlabel="x", ylabel="y", ylim=(0, 1))
    fig.draw_without_rendering()
    boxes = [Text.get_window_extent(text) for text in fig.axes[0].texts]  # without their leaders
    boxes.sort(key=lambda box: box.y0)
    assert all(below.y1 <= above.y0 for below, above in pairwise(boxes))
    frame = fig.bbox
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 and box.y1 <= frame.y1 for box in boxes)


def test_spread_moves_as_little_as_possible():
    np.testing.assert_allclose(curves._spread(np.array([0.1, 0.9]), 0.2), [0.1, 0.9])
    np.testing.assert_allclose(curves._spread(np.array([0.5, 0.5]), 0.2), [0.4, 0.6])
    np.testing.assert_allclose(curves._spread(np.array([0.5, 0.45]), 0.2), [0.575, 0.375])
    np.testing.assert_allclose(curves._spread(np.array([1.0, 0.99]), 0.2), [1.0, 0.8])


def test_looks_are_asked_for_known_or_free():
    labels = ["EWC, exact Fisher", "MAS", "anything"]
    asked, known, free = look.looks_of(labels, {"EWC, exact Fisher": "EWC"})
    assert (asked, known) == (plots.SERIES["EWC"], plots.SERIES["MAS"])
    assert free not in (asked, known)
    with pytest.raises(ValueError, match=r"styles ask for \['ewc'\], but the looks are"):
        two_lines(styles={"EWC": "ewc"})
    with pytest.raises(ValueError, match=r"styles name \['EVC'\], which nobody draws; the labels are"):
        two_lines(styles={"EVC": "EWC"})


def test_a_label_for_which_no_look_is_left_is_refused():
    labels = list(dict.fromkeys(plots.SERIES))
    assert len(look.looks_of(labels, None)) == len(labels)
    with pytest.raises(ValueError, match=r"no look is left for \['one more'\]: draw fewer labels"):
        look.looks_of([*labels, "one more"], None)


def test_charts_draw_into_given_axes():
    with plots.style():
        fig, axes = plt.subplots(1, 2)
    assert two_lines(ax=axes[0]) is fig
    assert plots.accuracy_matrix(np.eye(2), ax=axes[1]) is fig
    assert len(axes[0].lines) == 2
    assert [text.get_text() for text in axes[1].texts] == ["100.0", "0.0", "0.0", "100.0"]
    plt.close(fig)


# --- accuracy_matrix


def test_matrix_shows_means_and_half_widths():
    matrix = RNG.uniform(0.5, 0.9, (6, 2, 2))
    ax = plots.accuracy_matrix(matrix).axes[0]
    expected = []
    for i, j in np.ndindex(2, 2):
        cell = interval(matrix[:, i, j])
        expected += [f"{100 * cell.mean:.1f}", f"±{100 * (cell.high - cell.mean):.1f}"]
    assert [text.get_text() for text in ax.texts] == expected
    fill = ax.collections[0].get_array()[..., 3]
    np.testing.assert_allclose(fill, 0.6 * matrix.mean(0))
    assert [label.get_text() for label in ax.get_yticklabels()] == ["after task 1", "after task 2"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["on task 1", "2"]


def test_matrix_rows_run_downwards():
    fig = plots.accuracy_matrix([[0.9, np.nan], [0.3, 0.8]], names=["A", "B"])
    ax = fig.axes[0]
    places = {text.get_text(): ax.transData.transform(text.get_position()) for text in ax.texts}
    assert set(places) == {"90.0", "30.0", "80.0"}  # no number where nothing was measured
    assert places["30.0"][1] < places["90.0"][1]
    assert places["30.0"][0] < places["80.0"][0]
    assert {"after A", "on A", "B"} <= set(words_of(fig))


@pytest.mark.parametrize("shape", [(4,), (2, 3), (2, 2, 2, 2), (0, 0)])
def test_matrix_refuses_other_shapes(shape):
    with pytest.raises(ValueError, match=r"'matrix' has shape .* must be \(T, T\) or \(replicas"):
        plots.accuracy_matrix(np.zeros(shape))


@pytest.mark.parametrize("wrong", [90.0, -0.1, np.inf])
def test_matrix_refuses_percent(wrong):
    with pytest.raises(ValueError, match=rf"matrix holds {wrong:g}, but .* \[0, 1\]: divide .* by 100"):
        plots.accuracy_matrix([[np.nan, 0.5], [wrong, 1.0]])


def test_matrix_refuses_no_replicas():
    with pytest.raises(ValueError, match="'matrix' has no replicas"):
        plots.accuracy_matrix(np.zeros((0, 2, 2)))


def test_matrix_refuses_names_that_do_not_fit():
    with pytest.raises(ValueError, match="names has 1 entries, but the matrix covers 2 tasks"):
        plots.accuracy_matrix(np.eye(2), names=["A"])


# --- bars


def test_bars_draw_replicas_mean_and_interval():
    ax = plots.bars({"EWC": EWC[0], "MAS": interval(PLAIN[0])}, xlabel="accuracy").axes[0]
    replicas, mean, other_mean = ax.lines
    np.testing.assert_array_equal(replicas.get_xdata(), EWC[0])
    np.testing.assert_allclose([*mean.get_xdata(), *other_mean.get_xdata()], [EWC[0].mean(), PLAIN[0].mean()])
    for patch, values in zip(ax.patches, (EWC[0], PLAIN[0]), strict=True):
        found = interval(values)
        assert (patch.get_x(), patch.get_x() + patch.get_width()) == pytest.approx((found.low, found.high))
    found = interval(EWC[0])
    assert ax.texts[0].get_text() == f"{found.mean:.3f} ± {found.high - found.mean:.3f}"
    assert [label.get_text() for label in ax.get_yticklabels()] == ["EWC", "MAS"]


def test_bars_have_the_looks_words_and_limits_that_were_asked_for():
    series = {"EWC": interval(EWC[0]), "L2": interval(PLAIN[0])}
    ax = plots.bars(series, xlabel="accuracy", xlim=(0.2, 1)).axes[0]
    for name, mean, patch in zip(series, ax.lines, ax.patches, strict=True):
        assert look_of(mean) == dot_of(name)
        assert mpl.colors.to_hex(patch.get_facecolor()) == plots.COLOURS[name]
    assert (ax.get_xlabel(), ax.get_xlim()) == ("accuracy", (0.2, 1))


def test_bars_of_one_replica_and_references():
    ax = plots.bars({"EWC": [0.5]}, xlabel="x", references={"chance": 0.1}, digits=1).axes[0]
    assert [text.get_text() for text in ax.texts] == ["0.5", "chance"]
    assert ax.lines[-1].get_xdata()[0] == 0.1


def test_bars_refuse_what_is_not_one_number_a_replica():
    with pytest.raises(ValueError, match=r"'EWC' has shape \(5, 3\), but must be \(replicas,\)"):
        plots.bars({"EWC": EWC}, xlabel="accuracy")
    with pytest.raises(ValueError, match="'EWC' has no replicas: give at least one"):
        plots.bars({"EWC": []}, xlabel="accuracy")


# --- beside


def test_beside_draws_both_numbers_of_every_row():
    one, two, three = (interval(EWC[k] / 2) for k in range(3))
    groups = {
        "first": {"a": (0.5, one, "good"), "b": (0.6, two, "bad")},
        "second": {"a": (0.7, three, "good")},
    }
    looks = {"good": "task 1", "bad": "task 2"}
    ax = plots.beside(groups, verdicts=looks, xlabel="accuracy", xlim=(0, 1)).axes[0]
    assert [text.get_text() for text in ax.texts] == ["first", "second"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b", "a"]
    assert [text.get_position()[1] for text in ax.texts] == [0, 3] and list(ax.get_yticks()) == [1, 2, 4]
    published, ours = ax.lines[::2], ax.lines[1::2]
    assert [line.get_xdata()[0] for line in published] == [0.5, 0.6, 0.7]
    assert [line.get_xdata()[0] for line in ours] == [one.mean, two.mean, three.mean]
    assert (ax.get_xlabel(), ax.get_xlim()) == ("accuracy", (0, 1))
    assert [look_of(line) for line in ours] == [dot_of(looks[verdict]) for verdict in ("good", "bad", "good")]
    for row, patch, found in zip((1, 2, 4), ax.patches, (one, two, three), strict=True):
        assert patch.get_y() < row < patch.get_y() + patch.get_height()
        assert (patch.get_x(), patch.get_x() + patch.get_width()) == pytest.approx((found.low, found.high))
    [legend] = ax.figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["good", "bad", "published"]


def test_beside_refuses_a_verdict_without_a_look():
    groups = {"first": {"a": (0.5, interval(EWC[0]), "ugly")}}
    with pytest.raises(ValueError, match=r"'a' has the verdict 'ugly', but verdicts has \['good'\]"):
        plots.beside(groups, verdicts={"good": "task 1"}, xlabel="accuracy")


# --- landscape


def test_landscape_draws_losses_paths_and_points():
    path = np.array([(0.5, 0.5), (1.0, 1.5), (3.0, 1.5)])
    fig = bowls(paths={"EWC": path}, points={"start": (0.5, 0.5), "edge": (3.9, 1)}, levels=[0.25, 1])
    ax = fig.axes[0]
    drawn = {line.get_label(): line for line in ax.lines}
    np.testing.assert_array_equal(drawn["EWC"].get_xydata(), path)
    assert look_of(drawn["EWC"]) == plots.SERIES["EWC"]
    assert (ax.get_xlabel(), ax.get_title("left")) == ("θ₁", "θ₂")
    assert [colours_of(contours) for contours in ax.collections] == [{plots.COLOURS[loss]} for loss in "AABB"]
    assert {"loss of A", "loss of B", "EWC"} <= {text.get_text() for text in ax.get_legend().get_texts()}
    for contours in ax.collections[:2]:  # the shading of A, and its lines
        radii = [np.linalg.norm(path.vertices - 1, axis=1) for path in contours.get_paths()]
        np.testing.assert_allclose(radii[0], 0.5, atol=0.01)
    assert ax.get_aspect() == 1
    sides = {text.get_text(): text.get_ha() for text in ax.texts if text.get_text()}
    assert sides == {"start": "left", "edge": "right"}


def test_landscape_arrow_ends_where_the_path_ends_even_if_its_last_steps_are_tiny():
    path = np.array([(1, 1), (2, 1), (3, 1), (3, 1), (3, 1)])
    ax = bowls(paths={"EWC": path}).axes[0]
    arrow = ax.texts[0]
    assert tuple(arrow.xy) == (3, 1)
    assert tuple(arrow.xyann) == (2, 1)


def test_landscape_refuses_wrong_shapes():
    with pytest.raises(ValueError, match=r"'EWC' has shape \(2,\), but must be \(steps, 2\)"):
        bowls(paths={"EWC": (1, 1)})
    with pytest.raises(ValueError, match=r"'EWC' has shape \(0, 2\), .* with a step at least"):
        bowls(paths={"EWC": np.zeros((0, 2))})
    with pytest.raises(ValueError, match=r"'A' has shape \(\), but must be \(161, 161\), like its arg"):
        plots.landscape({"A": lambda x, y: x.sum()}, xlim=(0, 1), ylim=(0, 1), xlabel="x", ylabel="y")


@pytest.mark.parametrize(
    "loss, message",
    [
        (lambda x, y: 0 * x, "'A' is constant in xlim and ylim"),
        (lambda x, y: 0 * x + 2, "'A' is constant in xlim and ylim"),
        (lambda x, y: np.where(x > 0, x, np.inf), "'A' is not finite everywhere in xlim and ylim"),
        (lambda x, y: np.where(x > 0, x, np.nan), "'A' is not finite everywhere in xlim and ylim"),
    ],
)
def test_landscape_refuses_a_loss_without_contours(loss, message):
    with pytest.raises(ValueError, match=message):
        plots.landscape({"A": loss}, xlim=(0, 1), ylim=(0, 1), xlabel="x", ylabel="y")


def test_frames_lie_on_the_diagonal():
    ax = plots.accuracy_matrix(np.eye(3)).axes[0]
    assert [patch.get_xy() for patch in ax.patches] == [(0, 0), (1, 1), (2, 2)]


def test_a_band_is_the_interval_at_each_point():
    x, values = np.array([16, 32, 64]), np.random.default_rng(0).uniform(0.8, 0.9, (5, 3))
    ax = plots.lines(x, {"EWC": values}, xlabel="x", ylabel="y").axes[0]
    drawn = {tuple(v) for v in ax.collections[0].get_paths()[0].vertices.round(9)}
    for at, column in zip(x, values.T, strict=True):
        found = interval(column)
        assert {(at, round(found.low, 9)), (at, round(found.high, 9))} <= drawn


def test_numbers_beside_an_axis_of_powers():
    numbers = {
        1.5e-4: "1.5·10⁻⁴",
        9.6e-4: "9.6·10⁻⁴",
        3e-4: "3·10⁻⁴",
        1e-4: "10⁻⁴",
        0.003: "0.003",
        3e5: "3·10⁵",
        1e5: "10⁵",
        99_999: "99999",
    }
    assert {number: curves._plain(number) for number in numbers} == numbers
