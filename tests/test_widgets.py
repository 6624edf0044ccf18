"""The interactive figures: their numbers against NumPy, their behaviour in a real browser."""

import http.server
import json
import os
import re
import shutil
import subprocess
import threading
import xml.etree.ElementTree as ElementTree
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, program
from contrast import contrast

from cl_lib import metrics

WIDGETS = ROOT / "book" / "assets" / "widgets"
NODE_TESTS = sorted((ROOT / "tests" / "widgets").glob("*.test.mjs"))
STATIC = {path.stem: path.read_text(encoding="utf-8") for path in WIDGETS.glob("*.html")}
MAX_BYTES = 58_000  # of which no page fetches all

STRENGTHS = (0.0, 0.01, 0.3, 1.0, 12.5, 100.0)
IMPORTANCES = (0.0, 0.05, 0.5, 1.0)


def node(*arguments, text=None):
    return subprocess.run(
        [program("node"), *map(str, arguments)],
        input=text,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )


# Without a browser


def test_the_widgets_stay_small():
    assert sum(path.stat().st_size for path in WIDGETS.iterdir()) < MAX_BYTES


def test_the_widgets_ask_no_other_server():
    for path in WIDGETS.iterdir():
        assert not re.search("https?:|[\"'(]//", path.read_text(encoding="utf-8")), path.name


@pytest.mark.parametrize("name", STATIC)
def test_the_static_figure_is_described(name):
    svg = ElementTree.fromstring(STATIC[name]).find("svg")
    assert svg.get("role") == "img"
    assert 40 <= len(svg.get("aria-label")) <= 250


def test_a_missing_program_is_skipped_over_but_fails_in_ci(monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="none of these programs is installed: no-such"):
        program("no-such-program")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="none of these programs is installed: no-such"):
        program("no-such-program")


def test_node_tests():
    assert NODE_TESTS
    done = node("--test", *NODE_TESTS)
    assert done.returncode == 0, done.stdout + done.stderr


def evaluated(model, names, expression, values):
    """What a JavaScript expression of ``values`` gives with these names of a figure's model."""
    script = f"""
      import {{ readFileSync }} from "node:fs";
      import {{ {names} }} from "{(WIDGETS / f"{model}-model.mjs").as_uri()}";
      const values = JSON.parse(readFileSync(0, "utf8"));
      console.log(JSON.stringify({expression}));
    """
    done = node("--input-type=module", "--eval", script, text=json.dumps(values))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def end_point(strength, importance):
    """Solve the stationarity conditions; of several solutions take the nearest to the start."""
    start = np.array([1.0, 1.0, 0.0])
    rows = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]])
    target = np.array([1.0, 9.0])
    hessian = rows.T @ rows + strength * np.diag(importance)
    gradient = rows.T @ (rows @ start - target)
    return start + np.linalg.lstsq(hessian, -gradient)[0]


def test_end_points_and_losses_agree_with_numpy():
    settings = [
        {"lambda": strength, "F": list(importance)}
        for strength, *importance in product(STRENGTHS, *[IMPORTANCES] * 3)
    ]
    rows = "values.map((s) => [...endPoint(s), ...Object.values(losses(endPoint(s)))])"
    found = evaluated("three-weights", "endPoint, losses", rows, settings)
    ends = np.array([end_point(s["lambda"], s["F"]) for s in settings])
    loss_a = ((ends[:, 0] - 1) ** 2 + (ends[:, 1] - 1) ** 2) / 2
    loss_b = ((ends[:, 0] - 1) ** 2 + (ends[:, 1] + ends[:, 2] - 9) ** 2) / 2
    expected = np.column_stack([ends, loss_a, loss_b])
    np.testing.assert_allclose(found, expected, atol=1e-9)


# The matrix of the first chapter, below the accuracies before any training.
START = [[0.1, 0.1, 0.1], [0.9, 0.1, 0.2], [0.6, 0.8, 0.1], [0.5, 0.7, 0.9]]
ORDERS = ([0, 1, 2, 3, 4, 5, 6, 7], [7, 2, 5, 0, 3, 6, 1, 4])
SIZES = (1, 2, 4, 8)


def test_squares_before_and_after_the_mean_agree_with_numpy():
    settings = [
        {"order": order, "shift": shift, "size": size}
        for order, shift, size in product(ORDERS, (0, 0.3, 0.8), SIZES)
    ]
    rows = """values.map(({ order, shift, size }) => {
      const g = gradients(order, shift);
      return [...g, squaredEach(g), squaredLate(g, size)];
    })"""
    found = np.array(evaluated("squared-late", "gradients, squaredEach, squaredLate", rows, settings))
    assert len({row[-1].round(6) for row in found}) > 10
    np.testing.assert_allclose(found[:, :8].mean(1), [s["shift"] for s in settings], atol=1e-12)
    for setting, (*g, each, late) in zip(settings, found, strict=True):
        batches = np.reshape(g, (-1, setting["size"]))
        expected = [np.square(g).mean(), np.square(batches.mean(1)).mean()]
        np.testing.assert_allclose([each, late], expected, atol=1e-12)
        # what is lost is the spread within the batches, and no more
        np.testing.assert_allclose(each - late, batches.var(1).mean(), atol=1e-12)


def test_the_order_does_not_change_how_the_mean_of_squares_reads():
    texts = """values.map((order) => Array.from({ length: 9 }, (_, k) =>
      squaredEach(gradients(order, k / 10)).toFixed(2)))"""
    some = np.random.default_rng(0)
    orders = [some.permutation(8).tolist() for _ in range(2000)]
    found = evaluated("squared-late", "gradients, squaredEach", texts, orders)
    assert {tuple(texts) for texts in found} == {tuple(f"{1.12 + (k / 10) ** 2:.2f}" for k in range(9))}


def test_the_numbers_of_a_matrix_agree_with_the_package():
    some = np.random.default_rng(0)
    settings = [START, *some.integers(0, 21, (20, 4, 3)) / 20]
    all_of_it = """[START, Object.keys(MEASURES),
      values.map((rows) => Object.keys(MEASURES).map((name) => value(name, rows)))]"""
    start, names, numbers = evaluated(
        "accuracy-matrix", "MEASURES, START, value", all_of_it, np.array(settings).tolist()
    )
    assert start == START and len(names) == 5
    for (initial, *rows), found in zip(settings, numbers, strict=True):
        expected = {
            "average accuracy": metrics.average_accuracy(rows),
            "learning accuracy": metrics.learning_accuracy(rows),
            "forgetting": metrics.forgetting(rows),
            "backward transfer": metrics.backward_transfer(rows),
            "forward transfer": metrics.forward_transfer(rows, initial),
        }
        assert dict(zip(names, found, strict=True)) == pytest.approx(expected)


REACHES = {"1/48": 0.5, "1/24": 1, "1/12": 2, "1/6": 4, "1/3": 8, "all pairs": np.inf}


def projected(point):
    """The nearest point with no negative entry and the sum 24: the shift by bisection."""
    low, high = point.min() - 24, point.max()
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if np.maximum(point - middle, 0).sum() > 24 else (low, middle)
    return np.maximum(point - low, 0)


def test_competing_neurons_agree_with_numpy():
    runs = """values.map((sigma) => weights(sigma ?? Infinity)).map((w) => {
      const states = compete(START, w);
      return [states.slice(0, 60), states.at(-1), states.map((h) => penalty(w, h))];
    })"""
    reaches = [None if np.isinf(sigma) else sigma for sigma in REACHES.values()]
    found = evaluated("inhibition", "START, compete, penalty, weights", runs, reaches)
    i = np.arange(24)
    n_left = []
    for sigma, (states, end, penalties) in zip(REACHES.values(), found, strict=True):
        w = np.exp(-((i[:, None] - i) ** 2) / (2 * sigma**2)) - np.eye(24)
        h, rate = projected(np.array(states[0])), 0.2 / w.sum(1).max()
        for state, penalty in zip(states, penalties, strict=False):
            np.testing.assert_allclose(state, h, atol=1e-7)
            assert penalty == pytest.approx(h @ w @ h)
            h, rate = projected(h - rate * 2 * w @ h), 1.02 * rate
        assert (np.diff(penalties) <= 1e-9).all()
        assert len(penalties) < 2000 and penalties[-1] < 1e-3  # it ends, where hardly any inhibition is left
        assert np.sum(end) == pytest.approx(24) and min(end) >= 0
        left = np.flatnonzero(np.array(end) > 1e-3)
        assert len(left) == 1 or np.diff(left).min() > 3 * sigma  # those that are left are far apart
        n_left.append(len(left))
    assert n_left == [5, 3, 2, 2, 1, 1]


def test_among_all_pairs_the_highest_start_wins_and_a_long_reach_leaves_one():
    starts = 1 + np.random.default_rng(1).uniform(-0.05, 0.05, (40, 24))
    ends = """values.map((start) =>
      [8, Infinity].map((sigma) => active(compete(start, weights(sigma)).at(-1))))"""
    found = evaluated("inhibition", "active, compete, weights", ends, starts.tolist())
    for start, (third, everybody) in zip(starts, found, strict=True):
        assert len(third) == 1 and everybody == [np.argmax(start)]


def test_the_static_figures_show_the_numbers_of_the_models():
    texts = {
        name: " ".join(t.text for t in ElementTree.fromstring(figure).iter("text"))
        for name, figure in STATIC.items()
    }
    batches = np.reshape([1.6, 0.5, 0.8, -1.2, -0.9, 1.1, -0.6, -1.3], (2, 4))
    each, late = np.square(batches).mean(), np.square(batches.mean(1)).mean()
    assert re.findall(r"on average ([\d.]+)", texts["squared-late"]) == [f"{each:.2f}", f"{late:.2f}"]
    (initial, *rows), shown = START, texts["accuracy-matrix"].replace("−", "-")
    for name, number in {
        "average accuracy": metrics.average_accuracy(rows),
        "forgetting": metrics.forgetting(rows),
        "backward transfer": metrics.backward_transfer(rows),
        "forward transfer": metrics.forward_transfer(rows, initial),
    }.items():
        assert float(re.search(rf"{name}: (-?[\d.]+)", shown)[1]) == pytest.approx(number)
    bars = [len(group.findall("rect")) for group in ElementTree.fromstring(STATIC["inhibition"]).iter("g")]
    assert [n for n in bars if n] == [3, 2, 1]  # neurons left of the reaches 1/24, 1/6 and all pairs
    label = ElementTree.fromstring(STATIC["inhibition"]).find("svg").get("aria-label")
    assert re.findall(r"\b(one|two|three|four)\b", label) == ["three", "two", "one"]


# In a browser

PAGES = {
    "figure.html": STATIC["three-weights"],
    "squared-late.html": STATIC["squared-late"],
    "accuracy-matrix.html": STATIC["accuracy-matrix"],
    "inhibition.html": STATIC["inhibition"],
    "below.html": f"<div style='height: 3000px'></div>{STATIC['inhibition']}",
    "empty.html": "<div>static text</div>",
    "unknown.html": '<div data-widget="no-such-figure"><svg id="still"></svg></div>',
    "misnamed.html": '<div data-widget="../x"><svg id="still"></svg></div>',
}
PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Figure</title>
<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">
<script type="module" src="../_static/widgets/loader.mjs?v=1"></script>
<style>html[data-theme=dark] {{ --pst-color-background: #14181e; }}
body {{ background: var(--pst-color-background, #fff); }}
html[data-theme=dark] body {{ color: #d5dae0; }}</style></head><body>{body}</body></html>"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Serve the pages below a folder, as a book on a project site is, and return their address."""
    root = tmp_path_factory.mktemp("site")
    shutil.copytree(WIDGETS, root / "book" / "_static" / "widgets")
    (root / "book" / "chapters").mkdir()
    for name, body in PAGES.items():
        page = root / "book" / "chapters" / name
        page.write_text(PAGE.format(body=body), encoding="utf-8")

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(root))

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/book/chapters"
        server.shutdown()
        thread.join()


def rgb(colour):
    """A colour of CSS as three numbers up to 1."""
    return np.array(re.findall(r"\d+", colour)[:3], float) / 255


class Figure:
    """A page with the figure, and what its reader sees; pages that report an error are refused."""

    def __init__(self, browser, site, name="figure.html", **options):
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.errors, self.fetched = [], []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda m: m.type == "error" and self.errors.append(m.text))
        self.page.on("request", lambda r: self.fetched.append(r.url.rsplit("/", 1)[1]))
        self.page.goto(f"{site}/{name}", wait_until="networkidle")

    def readout(self):
        text = self.page.locator(".iw-readout").inner_text()
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return dict(zip(["A", "B", "end", "verdict"], [*lines[1:6:2], lines[-1]], strict=True))

    def value(self, name):
        return self.page.locator(f"input[name={name}]").get_attribute("aria-valuetext")

    def pressed(self):
        return self.page.locator(".iw-presets [aria-pressed=true] b").all_inner_texts()

    def press(self, *keys):
        for key in keys:
            self.page.keyboard.press(key)

    def wear(self, theme):
        self.page.evaluate("theme => { document.documentElement.dataset.theme = theme }", theme)

    def show(self, name):
        """Keep a picture, if a folder for pictures is named in WIDGET_SCREENSHOTS."""
        if folder := os.environ.get("WIDGET_SCREENSHOTS"):
            self.page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


@pytest.fixture
def open_figure(browser, site):
    opened = []

    def open_page(name="figure.html", **options):
        opened.append(Figure(browser, site, name, **options))
        return opened[-1]

    yield open_page
    for figure in opened:
        figure.context.close()


def test_the_figure_opens_on_plain_training(open_figure):
    figure = open_figure()
    assert figure.readout() == {
        "A": "8.00",
        "B": "0.00",
        "end": "(1, 5, 4)",
        "verdict": "B is solved, A no longer.",
    }
    assert figure.pressed() == ["Plain"]
    assert figure.errors == []


def test_the_keyboard_reaches_every_control_in_order(open_figure):
    figure = open_figure()
    seen = []
    for _ in range(7):
        figure.press("Tab")
        seen.append(
            figure.page.evaluate(
                "document.activeElement.name || document.activeElement.innerText.split('\\n')[0]"
            )
        )
    assert seen == ["Plain", "L2", "EWC", "position", "f2", "f3", "Reset"]


def test_presets_by_keyboard(open_figure):
    figure = open_figure()
    figure.press("Tab", "Tab", "Enter")
    assert figure.pressed() == ["L2"]
    assert figure.readout() == {
        "A": "3.56",
        "B": "3.56",
        "end": "(1, 3.67, 2.67)",
        "verdict": "Neither is solved: one loss is traded for the other.",
    }
    figure.press("Tab", "Space")
    assert figure.pressed() == ["EWC"]
    assert figure.readout() == {
        "A": "0.00",
        "B": "0.00",
        "end": "(1, 1, 8)",
        "verdict": "Both tasks are solved.",
    }
    figure.press("Shift+Tab", "Shift+Tab", "Enter")
    assert figure.pressed() == ["Plain"]
    assert figure.readout()["end"] == "(1, 5, 4)"
    assert figure.errors == []


def test_the_strength_slider_by_keyboard(open_figure):
    figure = open_figure()
    figure.page.locator("input[name=position]").focus()
    figure.press("ArrowRight")
    assert figure.value("position") == "0.0100"
    assert figure.readout()["A"] == f"{32 / 2.01**2:.2f}"
    figure.press("End")
    assert figure.value("position") == "100"
    assert figure.readout() == {
        "A": "< 0.01",
        "B": f"{32 * 100**2 / 102**2:.2f}",
        "end": "(1, 1.08, 0.08)",
        "verdict": "A is kept, but B is not learned.",
    }
    figure.press("Home")
    assert figure.readout()["end"] == "(1, 5, 4)"
    assert figure.errors == []


def test_each_place_of_the_strength_slider_reads_differently(open_figure):
    texts = open_figure().page.evaluate("""() => {
      const slider = document.querySelector("input[name=position]");
      return Array.from({ length: +slider.max + 1 }, (_, position) => {
        slider.value = position;
        slider.dispatchEvent(new Event("input"));
        return slider.getAttribute("aria-valuetext");
      });
    }""")
    assert len(set(texts)) == len(texts) == 82


def test_the_importance_sliders_by_keyboard_and_reset(open_figure):
    figure = open_figure()
    figure.page.get_by_role("button", name="L2").click()
    figure.page.locator("input[name=f3]").focus()
    figure.press("ArrowLeft")
    assert figure.value("f3") == "0.95"
    assert figure.pressed() == []
    figure.press("Home")
    assert figure.pressed() == ["EWC"]
    figure.press("End", "Shift+Tab", "Home")
    assert figure.value("f2") == "0.00"
    assert figure.readout()["end"] == "(1, 9, 0)"
    figure.press("Tab", "Tab", "Enter")
    assert [figure.value(name) for name in ("position", "f2", "f3")] == ["0.00", "1.00", "1.00"]
    assert figure.pressed() == ["Plain"]


def test_a_preset_keeps_the_strength_that_the_reader_chose(open_figure):
    figure = open_figure()
    figure.page.locator("input[name=position]").fill("61")
    figure.page.get_by_role("button", name="EWC").click()
    assert figure.value("position") == "10.0"


def test_the_drawing_follows_the_numbers(open_figure):
    figure = open_figure()
    figure.page.get_by_role("button", name="EWC").click()
    drawing = figure.page.evaluate("""() => {
      const at = (s) => ["cx", "cy"].map((name) => +document.querySelector(s).getAttribute(name));
      const line = document.querySelector(".iw .path").getAttribute("d").match(/[\\d.]+ [\\d.]+$/);
      return { end: at(".iw circle.end"), both: at(".iw circle.both"),
        path: line[0].split(" ").map(Number), label: document.querySelector(".iw svg").ariaLabel };
    }""")
    assert drawing["end"] == pytest.approx(drawing["both"])
    assert drawing["path"] == pytest.approx(drawing["both"], abs=0.06)
    assert "ends at (1, 1, 8). Both tasks are solved." in drawing["label"]
    assert 40 <= len(drawing["label"]) <= 250


def test_changes_are_announced_and_controls_are_named(open_figure):
    page = open_figure().page
    assert page.locator(".iw-readout").get_attribute("aria-live") == "polite"
    for name in ("λ strength of the penalty", "F₂ importance of θ₂", "F₃ importance of θ₃"):
        assert page.get_by_role("slider", name=name).count() == 1


def test_the_path_is_drawn_slowly_only_where_motion_is_welcome(open_figure):
    for motion, running in (("no-preference", 1), ("reduce", 0)):
        page = open_figure(reduced_motion=motion).page
        page.get_by_role("button", name="EWC").click()
        assert page.evaluate("document.getAnimations().length") == running


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 1280])
def test_the_figure_fits_and_stands_out(open_figure, width, theme):
    figure = open_figure(viewport={"width": width, "height": 800}, reduced_motion="reduce")
    page = figure.page
    figure.wear(theme)
    page.get_by_role("button", name="L2").click()
    figure.show(f"three-weights-{width}-{theme}")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    colours = page.evaluate("""() => {
      const style = (s) => getComputedStyle(document.querySelector(s));
      return [getComputedStyle(document.body).backgroundColor, style(".iw circle.both").stroke,
        ...[...document.querySelectorAll(".iw .valley")].map((l) => getComputedStyle(l).stroke)];
    }""")
    paper, *lines = [rgb(colour) for colour in colours]
    assert len(lines) == 3
    assert all(contrast(line, paper) >= 3 for line in lines)


def test_bars_and_the_pressed_preset_are_seen_in_forced_colours(open_figure):
    page = open_figure(forced_colors="active").page
    page.get_by_role("button", name="L2").click()
    page.locator(".iw-readout").click()  # takes the focus, whose outline is no sign of being pressed
    found = page.evaluate("""() => {
      const style = (node) => getComputedStyle(node);
      const paper = style(document.body).backgroundColor;
      const bars = [...document.querySelectorAll(".iw-bar")];
      return {
        bars: bars.map((bar) => style(bar).borderTopStyle),
        hidden: bars.filter((bar) => style(bar.firstChild).backgroundColor === paper).length,
        hatched: bars.map((bar) => style(bar.firstChild).backgroundImage !== "none"),
        outlines: [...document.querySelectorAll("[data-preset]")].map((b) => style(b).outlineStyle),
      };
    }""")
    assert found == {
        "bars": ["solid"] * 2,
        "hidden": 0,
        "hatched": [False, True],
        "outlines": ["none", "solid", "none"],
    }


@pytest.mark.parametrize(
    "name", ["figure.html", "squared-late.html", "accuracy-matrix.html", "inhibition.html"]
)
def test_the_static_figure_is_for_print_and_for_readers_without_scripts(open_figure, name):
    still = "[data-widget] > svg"
    page = open_figure(name).page
    assert page.locator(".iw").is_visible() and page.locator(still).is_hidden()
    page.emulate_media(media="print")
    assert page.locator(".iw").is_hidden() and page.locator(still).is_visible()
    assert open_figure(name, java_script_enabled=False).page.locator(still).is_visible()


def squares(figure):
    """The numbers that the second figure shows, and its verdict."""
    lines = [line.strip() for line in figure.page.locator(".iw-readout").inner_text().splitlines()]
    shown = [line for line in lines if line]
    assert shown[::2][:2] == ["Squared each", "Squared late"]
    return float(shown[1]), float(shown[3]), shown[4]


def areas(figure, kind):
    """The squares of a row, as areas in units of a squared gradient."""
    sides = figure.page.evaluate(
        "kind => [...document.querySelectorAll(`.iw rect.${kind}`)].map((r) =>"
        " [+r.getAttribute('width'), +r.getAttribute('height')])",
        kind,
    )
    assert len(sides) == 8 and all(width == height for width, height in sides)
    return [(width / 19) ** 2 for width, _ in sides]


def test_the_second_figure_follows_the_batch_size(open_figure):
    figure = open_figure("squared-late.html")
    assert squares(figure) == (1.12, 0.18, "Squared late, it is 6.2 times too small.")
    figure.page.locator("input[name=position]").focus()
    found = {}
    figure.press("Home")
    for size in SIZES:
        assert figure.value("position") == str(size)
        assert figure.page.locator(".iw rect.batch").count() == 8 // size
        right, late, verdict = found[size] = squares(figure)
        assert np.mean(areas(figure, "each")) == pytest.approx(right, abs=0.0051)
        assert np.mean(areas(figure, "late")) == pytest.approx(late, abs=0.0051)
        label = figure.page.locator(".iw svg").get_attribute("aria-label")
        assert f"in batches of {size}." in label and verdict in label and 40 <= len(label) <= 250
        figure.press("ArrowRight")
    assert {right for right, *_ in found.values()} == {1.12}
    assert found[1][1:] == (1.12, "Batches of one: nothing cancels, both are the same.")
    assert found[8][1:] == (0, "All gradients cancel: the weight looks free.")
    assert figure.errors == []


def test_far_from_an_optimum_less_cancels(open_figure):
    figure = open_figure("squared-late.html")
    figure.page.locator("input[name=shift]").focus()
    before = squares(figure)
    figure.press("End")
    assert figure.value("shift") == "0.80"
    right, late, _ = squares(figure)
    assert right == pytest.approx(before[0] + 0.64, abs=0.011)
    assert late == pytest.approx(before[1] + 0.64, abs=0.011)
    bars = figure.page.locator(".iw-bar i").evaluate_all("(bars) => bars.map((b) => b.style.width)")
    assert 95 < float(bars[0].rstrip("%")) <= 100


def test_the_verdict_says_by_which_factor(open_figure):
    figure = open_figure("squared-late.html")
    for position, shift in product(range(4), range(9)):
        figure.page.locator("input[name=position]").fill(str(position))
        figure.page.locator("input[name=shift]").fill(str(shift / 10))
        right, late, verdict = squares(figure)
        if found := re.fullmatch(r"Squared late, it is ([\d.]+) times too small\.", verdict):
            error = 0.005 / late + 0.005 / right + 0.06  # of what is shown with two decimals
            assert float(found[1]) == pytest.approx(right / late, rel=error)
        elif "cancel: " in verdict:
            assert late == 0 and verdict.startswith("All")
        else:
            assert late == pytest.approx(right, rel=0.05)


def test_another_order_changes_what_is_squared_late_only(open_figure):
    figure = open_figure("squared-late.html")
    figure.page.evaluate("Math.random = () => 0.999999")  # the last of those that are left: backwards
    figure.page.locator("input[name=position]").fill("1")
    before, each, late = squares(figure), areas(figure, "each"), areas(figure, "late")
    figure.page.get_by_role("button", name="Shuffle").click()
    assert areas(figure, "each") == pytest.approx(each[::-1])
    assert areas(figure, "late") == pytest.approx(late[::-1])
    figure.page.evaluate("{ let k = 0; Math.random = () => (k = (k + 0.37) % 1) }")
    figure.page.get_by_role("button", name="Shuffle").click()
    assert squares(figure)[0] == before[0] and squares(figure)[1] != before[1]
    assert sorted(areas(figure, "each")) == pytest.approx(sorted(each))
    figure.page.get_by_role("button", name="Reset").click()
    assert squares(figure)[1] == 0.18 and areas(figure, "each") == pytest.approx(each)
    assert figure.errors == []


def test_the_keyboard_reaches_every_control_of_the_second_figure(open_figure):
    figure, seen = open_figure("squared-late.html"), []
    for _ in range(4):
        figure.press("Tab")
        seen.append(figure.page.evaluate("document.activeElement.name || document.activeElement.innerText"))
    assert seen == ["position", "shift", "Shuffle", "Reset"]
    for name in ("B samples in a batch", "ḡ mean gradient"):
        assert figure.page.get_by_role("slider", name=name).count() == 1
    assert figure.page.locator(".iw-readout").get_attribute("aria-live") == "polite"


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 1280])
def test_the_second_figure_fits_and_stands_out(open_figure, width, theme):
    figure = open_figure("squared-late.html", viewport={"width": width, "height": 800})
    page = figure.page
    figure.wear(theme)
    page.locator("input[name=shift]").fill("0.8")
    figure.show(f"squared-late-{width}-{theme}")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    colours = page.evaluate("""() => [getComputedStyle(document.body).backgroundColor,
      ...["each", "late"].map((kind) => getComputedStyle(document.querySelector(`.iw .${kind}`)).fill)]""")
    paper, *fills = [rgb(colour) for colour in colours]
    assert len(fills) == 2 and all(contrast(fill, paper) >= 3 for fill in fills)
    inside = page.evaluate("""() => {
      const frame = document.querySelector(".iw svg").getBoundingClientRect();
      return [...document.querySelectorAll(".iw rect, .iw text")].every((node) => {
        const box = node.getBoundingClientRect();
        const across = box.left >= frame.left && box.right <= frame.right;
        return across && box.top >= frame.top && box.bottom <= frame.bottom;
      });
    }""")
    assert inside


NUMBERS = {
    "average accuracy": "0.700",
    "learning accuracy": "0.867",
    "forgetting": "0.250",
    "backward transfer": "−0.250",
    "forward transfer": "0.000",
}


def numbers(figure):
    lines = [b.split("\n") for b in figure.page.locator("[data-measure]").all_inner_texts()]
    return {line[0].strip(): line[-1].strip() for line in lines}


def the_sum(figure):
    return figure.page.locator(".iw-readout").inner_text().replace("\xa0", " ")


def framed(figure):
    """The cells in a frame: what signs they have, and which accuracies they name."""
    return figure.page.evaluate("""() => {
      const sign = (td) => getComputedStyle(td.firstElementChild, "::before").content.replaceAll('"', "");
      const cell = (td) => td.querySelector("input").ariaLabel.replace("accuracy on ", "");
      const marked = [...document.querySelectorAll(".iw tbody td")].filter((td) => td.className);
      return marked.map((td) => [td.className, sign(td), cell(td)].join(" "));
    }""")


def of_matrix(figure, name):
    return figure.page.get_by_role("spinbutton", name=name, exact=True)


def test_the_matrix_opens_on_the_numbers_of_the_chapter(open_figure):
    figure = open_figure("accuracy-matrix.html")
    assert numbers(figure) == NUMBERS
    shown = figure.page.locator("td input").evaluate_all("(all) => all.map((i) => i.valueAsNumber)")
    assert shown == sum(START, [])
    assert the_sum(figure) == "Forgetting: [(0.9 − 0.5) + (0.8 − 0.7)] / 2 = 0.250"
    assert figure.errors == []


def test_each_number_frames_its_cells(open_figure):
    figure = open_figure("accuracy-matrix.html")
    expected = {
        "average accuracy": [f"plus + task {t} after task 3" for t in (1, 2, 3)],
        "learning accuracy": [f"plus + task {t} after task {t}" for t in (1, 2, 3)],
        "forgetting": [f"plus + task {t} after task {t}" for t in (1, 2)]
        + [f"minus − task {t} after task 3" for t in (1, 2)],
        "backward transfer": [f"minus − task {t} after task {t}" for t in (1, 2)]
        + [f"plus + task {t} after task 3" for t in (1, 2)],
        "forward transfer": [f"minus − task {t} before any training" for t in (2, 3)]
        + [f"plus + task {t} after task {t - 1}" for t in (2, 3)],
    }
    assert list(expected) == list(NUMBERS)
    for name, cells in expected.items():
        figure.page.get_by_role("button", name=name).click()
        assert framed(figure) == cells
        assert figure.page.locator("[aria-pressed=true] span").all_inner_texts() == [name]
        said = the_sum(figure)
        assert said.startswith(f"{name.capitalize()}: ") and said.endswith(f" = {NUMBERS[name]}")
        total = said.split(": ")[1].split(" = ")[0].translate(str.maketrans("[]−", "()-"))
        assert f"{eval(total):.3f}" == NUMBERS[name].replace("−", "-")


def test_the_best_moment_may_come_later(open_figure):
    figure = open_figure("accuracy-matrix.html")
    cell = of_matrix(figure, "accuracy on task 1 after task 2")
    write(figure, cell, "0.95")
    assert numbers(figure) == NUMBERS | {"forgetting": "0.275"}
    assert framed(figure)[:2] == ["plus + task 1 after task 2", "plus + task 2 after task 2"]
    assert "(0.95 − 0.5)" in the_sum(figure)
    figure.page.get_by_role("button", name="Reset").click()
    assert numbers(figure) == NUMBERS and cell.input_value() == "0.6"


def write(figure, cell, text):
    """Type over what stands in a cell, key by key, and leave it."""
    cell.focus()
    figure.press("Control+A", "Delete")
    figure.page.keyboard.type(text)
    figure.press("Tab")


@pytest.mark.parametrize("typed", ["", "1.5", "-0.2", "95", "1e9", "-"])
def test_what_is_no_accuracy_changes_nothing(open_figure, typed):
    figure = open_figure("accuracy-matrix.html")
    cell = of_matrix(figure, "accuracy on task 2 after task 3")
    write(figure, cell, typed)
    assert numbers(figure) == NUMBERS and cell.input_value() == "0.7"
    cell.focus()
    figure.press("ArrowUp")
    assert numbers(figure)["average accuracy"] == "0.717" and figure.errors == []


def test_an_accuracy_has_at_most_three_decimals(open_figure):
    figure = open_figure("accuracy-matrix.html")
    cell = of_matrix(figure, "accuracy on task 1 after task 3")
    write(figure, cell, "0.33333333")
    assert cell.input_value() == "0.333" and "(0.9 − 0.333)" in the_sum(figure)
    assert cell.get_attribute("aria-invalid") == "false"  # though it is no multiple of the arrows' step


def test_a_screen_reader_hears_which_cells_count(open_figure):
    figure = open_figure("accuracy-matrix.html")
    figure.page.get_by_role("button", name="backward transfer").click()
    said = {
        name: of_matrix(figure, f"accuracy on task 1 after task {n}").get_attribute("aria-description")
        for name, n in (("learned", 1), ("between", 2), ("end", 3))
    }
    assert said == {"learned": "taken away", "between": "", "end": "added"}


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 375, 1280])
def test_the_matrix_fits_and_stands_out(open_figure, width, theme):
    figure = open_figure("accuracy-matrix.html", viewport={"width": width, "height": 800})
    page = figure.page
    cell = of_matrix(figure, "accuracy on task 1 after task 1")
    write(figure, cell, "0.955")
    assert cell.evaluate("(input) => input.scrollWidth - input.clientWidth") <= 1
    figure.wear(theme)
    figure.show(f"accuracy-matrix-{width}-{theme}")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    colours = page.evaluate("""() => {
      const frame = (kind) => getComputedStyle(document.querySelector(`td.${kind}`)).boxShadow;
      return [getComputedStyle(document.body).backgroundColor, frame("plus"), frame("minus")];
    }""")
    paper, *frames = [rgb(colour) for colour in colours]
    assert len(frames) == 2 and all(contrast(frame, paper) >= 3 for frame in frames)
    assert figure.page.get_by_role("spinbutton").count() == 12


def test_frames_are_seen_in_forced_colours(open_figure):
    page = open_figure("accuracy-matrix.html", forced_colors="active").page
    styles = page.evaluate("""() => ["plus", "minus"].map((kind) =>
      getComputedStyle(document.querySelector(`td.${kind}`)).borderStyle)""")
    assert styles == ["solid", "dashed"]


def heights(figure, kind):
    bars = figure.page.locator(f".iw rect.{kind}")
    return bars.evaluate_all("(all) => all.map((bar) => +bar.getAttribute('height'))")


def test_neurons_compete_as_far_as_they_reach(open_figure):
    figure = open_figure("inhibition.html", reduced_motion="reduce")
    slider, readout = figure.page.locator("input[name=position]"), figure.page.locator(".iw-readout")
    slider.focus()
    figure.press("Home")
    left = {}
    for reach in REACHES:
        assert figure.value("position") == reach
        tall = np.flatnonzero(np.array(heights(figure, "active")) > 0.01) + 1
        left[reach] = len(tall)
        _, n, _, penalty, verdict = [
            line.strip() for line in readout.inner_text().split("\n") if line.strip()
        ]
        assert n == f"{len(tall)} of 24" and penalty == "0.0" and len(heights(figure, "felt")) == 24
        assert [int(number) for number in re.findall(r"\d+", verdict.split("number")[1])] == tall.tolist()
        label = figure.page.locator(".iw svg").get_attribute("aria-label")
        assert label.endswith(f"reach {reach}. {verdict}") and 40 <= len(label) <= 250
        figure.press("ArrowRight")
    assert list(left.values()) == [5, 3, 2, 2, 1, 1]
    assert figure.errors == []


def stop_time(figure):
    """Load the page anew; its time then passes only when it is told to."""
    figure.page.clock.install(time=0)
    figure.page.clock.pause_at(1000)
    figure.page.reload(wait_until="networkidle")


def test_the_competition_is_played_only_where_motion_is_welcome(open_figure):
    def seen(figure):
        rows = [row.split("\n") for row in figure.page.locator(".iw-row").all_inner_texts()]
        verdict = figure.page.locator(".iw-verdict").inner_text()
        return max(heights(figure, "active")), *(row[-1].strip() for row in rows), verdict

    moving = open_figure("inhibition.html")
    stop_time(moving)
    moving.page.locator("input[name=position]").fill("5")
    assert seen(moving) == (pytest.approx(6.5, rel=0.1), "24 of 24", "552", "They compete.")
    moving.page.clock.run_for(3000)
    still = open_figure("inhibition.html", reduced_motion="reduce")
    still.page.locator("input[name=position]").fill("5")
    end = (pytest.approx(24 * 6.5, abs=0.1), "1 of 24", "0.0", "One neuron is left, number 23.")
    assert seen(moving) == seen(still) == end


def test_the_competition_begins_when_it_is_seen(open_figure):
    figure = open_figure("below.html")
    stop_time(figure)
    verdict = figure.page.locator(".iw-verdict")
    for scrolled, left in ((2300, 24), (3000, 2)):  # the edge of the drawing, and all of it
        figure.page.evaluate("y => window.scrollTo(0, y)", scrolled)
        figure.page.evaluate(
            "() => new Promise((done) => new IntersectionObserver(done).observe(document.body))"
        )
        figure.page.clock.run_for(3000)
        assert sum(height > 0.01 for height in heights(figure, "active")) == left
    assert verdict.inner_text() == "2 are left, numbers 1 and 24."
    assert verdict.get_attribute("aria-live") is None  # nobody asked
    figure.page.get_by_role("button", name="Reset").click()
    assert verdict.get_attribute("aria-live") == "polite"


def test_another_start_and_reset(open_figure):
    figure = open_figure("inhibition.html", reduced_motion="reduce")
    figure.page.locator("input[name=position]").fill("5")
    first = np.argmax(heights(figure, "active"))
    figure.page.evaluate("{ let k = 0; Math.random = () => k++ / 100 }")  # the last begins highest
    figure.page.get_by_role("button", name="Other start").click()
    assert np.argmax(heights(figure, "active")) == 23 != first
    figure.page.get_by_role("button", name="Reset").click()
    assert figure.value("position") == "1/6"
    figure.page.locator("input[name=position]").fill("5")
    assert np.argmax(heights(figure, "active")) == first and figure.errors == []


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 1280])
def test_the_competition_fits_and_stands_out(open_figure, width, theme):
    size = {"width": width, "height": 800}
    figure = open_figure("inhibition.html", viewport=size, reduced_motion="reduce")
    page = figure.page
    figure.wear(theme)
    for position in ("5", "3"):
        page.locator("input[name=position]").fill(position)
        figure.show(f"inhibition-{width}-{theme}-{position}")
        box = page.locator(".iw svg").bounding_box()
        for bar in page.locator(".iw rect").all():
            own = bar.bounding_box()
            assert own["y"] >= box["y"] and own["y"] + own["height"] <= box["y"] + box["height"]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    colours = page.evaluate("""() => [getComputedStyle(document.body).backgroundColor,
      ...["active", "felt"].map((kind) => getComputedStyle(document.querySelector(`.iw .${kind}`)).fill)]""")
    paper, *fills = [rgb(colour) for colour in colours]
    assert len(fills) == 2 and all(contrast(fill, paper) >= 3 for fill in fills)
    assert page.locator(".iw .felt").first.evaluate("(bar) => getComputedStyle(bar).fillOpacity") == "1"


@pytest.mark.parametrize("name", ["squared-late.html", "inhibition.html"])
@pytest.mark.parametrize("scheme, theme", [("dark", "light"), ("light", "dark")])
def test_words_in_a_drawing_are_seen_in_forced_colours(open_figure, name, scheme, theme):
    figure = open_figure(name, forced_colors="active", color_scheme=scheme)
    figure.wear(theme)
    colours = figure.page.evaluate("""() => [getComputedStyle(document.body).backgroundColor,
      getComputedStyle(document.querySelector(".iw svg text")).fill]""")
    paper, ink = [rgb(colour) for colour in colours]
    assert contrast(ink, paper) >= 4.5


@pytest.mark.parametrize("name", ["squared-late.html", "accuracy-matrix.html", "inhibition.html"])
def test_no_words_of_a_static_figure_overlap(open_figure, name):
    page = open_figure(name, java_script_enabled=False).page
    boxes = [text.bounding_box() for text in page.locator("[data-widget] > svg text").all()]
    frame = page.locator("[data-widget] > svg").bounding_box()
    assert len(boxes) > 2
    for k, a in enumerate(boxes):
        assert a["x"] + a["width"] <= frame["x"] + frame["width"] + 1
        for b in boxes[:k]:
            apart = a["x"] >= b["x"] + b["width"] or b["x"] >= a["x"] + a["width"]
            assert apart or abs(a["y"] - b["y"]) > 0.7 * min(a["height"], b["height"])


def test_a_page_without_a_figure_fetches_only_the_loader(open_figure):
    figure = open_figure("empty.html")
    assert figure.fetched == ["empty.html", "loader.mjs?v=1"]
    assert figure.errors == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("unknown.html", 'data-widget="no-such-figure" keeps its static figure'),
        ("misnamed.html", "expected a name of lower-case letters, digits and hyphens"),
    ],
)
def test_a_figure_that_cannot_be_loaded_stays_static_and_says_so(open_figure, name, message):
    figure = open_figure(name)
    assert any(message in error for error in figure.errors)
    assert figure.page.locator("#still").count() == 1
    assert figure.page.locator(".iw").count() == 0


def test_a_figure_that_breaks_while_it_starts_gives_way_to_the_static_one(browser, site):
    with browser.new_context() as context:
        context.add_init_script("delete Array.prototype.at")  # as in an old browser
        page, errors = context.new_page(), []
        page.on("console", lambda message: errors.append(message.text))
        page.goto(f"{site}/inhibition.html", wait_until="networkidle")
        assert any('data-widget="inhibition" keeps its static figure' in error for error in errors)
        assert page.locator("[data-widget] > svg").is_visible() and page.locator(".iw").count() == 0
