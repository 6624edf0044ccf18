"""The built pages as a reader meets them: whole on a phone, and without useless stops of the Tab key."""

import pytest
from conftest import BOOK

WIDTH = 375
NARROW = 60  # pixels in which no word of a table fits
PAGES = sorted(
    str(path.relative_to(BOOK).with_suffix(".html"))
    for path in BOOK.rglob("*.md")
    if "_build" not in path.parts
)
CUT_OFF = """() => [...document.querySelectorAll('.bd-article mjx-container:not([display=true])')]
  .filter((box) => box.clientWidth)
  .filter((box) => box.querySelector('mjx-math').getBoundingClientRect().width > box.clientWidth + 3)
  .map((box) => box.closest('p, li, td, dd').textContent.trim().slice(0, 100))"""
# Formulas that code prints, and those of the reference, may scroll.
TOO_WIDE = """() => [...document.querySelectorAll('.bd-article mjx-container[display=true]')]
  .filter((box) => !box.closest('.cell_output, dl.py') && box.scrollWidth > box.clientWidth + 3)
  .map((box) => box.textContent.slice(0, 50))"""
SQUEEZED = f"""() => [...document.querySelectorAll('.bd-article :is(td, th)')]
  .filter((cell) => cell.offsetParent && cell.textContent.trim().length > 12)
  .filter((cell) => cell.clientWidth < {NARROW})
  .map((cell) => cell.textContent.trim().slice(0, 50))"""


UNNAMED = """() => [...document.querySelectorAll('summary, button')]
  .filter((element) => element.offsetParent)
  .filter((element) => !element.getAttribute('aria-label') && !element.textContent.trim())
  .map((element) => element.outerHTML.slice(0, 100))"""


@pytest.fixture(scope="module")
def phone(browser):
    context = browser.new_context(viewport={"width": WIDTH, "height": 800})
    yield context.new_page()
    context.close()


def shown(phone, file):
    """Open a page and wait until its formulas are set."""
    phone.goto(file.as_uri())
    phone.evaluate("() => window.MathJax?.startup?.promise")
    return phone


@pytest.mark.parametrize("name", [*PAGES, "genindex.html"])
def test_a_page_is_as_wide_as_a_phone_and_none_of_it_is_cut_off(phone, built_book, name):
    page = shown(phone, built_book / name)
    assert page.evaluate("() => document.documentElement.scrollWidth") == WIDTH
    assert page.evaluate(CUT_OFF) == [], "an inline formula is wider than the text: split it in two"
    assert page.evaluate(TOO_WIDE) == [], "a displayed formula is wider than a phone: break it"
    assert page.evaluate(SQUEEZED) == [], "a cell of a table has no room for its words"


@pytest.mark.parametrize("name", ["ewc.html", "api/methods.html"])
def test_what_opens_and_closes_says_what_it_opens(browser, built_book, name):
    with browser.new_context(viewport={"width": 1280, "height": 800}) as context:
        page = shown(context.new_page(), built_book / name)
        assert page.evaluate(UNNAMED) == []
        assert page.get_by_label("Pages of API reference").count() == 1
        assert page.locator("summary[aria-label='Toggle hidden content']").count() == 0
        folded = page.locator("summary", has_text="Show code cell source").count()
        assert folded > 5 if name == "ewc.html" else not folded


def test_figures_are_printed_in_black_whatever_the_theme(browser, built_book):
    with browser.new_context() as context:
        page = shown(context.new_page(), built_book / "forgetting.html")
        page.evaluate("() => document.documentElement.dataset.theme = 'dark'")
        page.emulate_media(media="print")
        for part in (
            "figure.cl-figure",
            "figure.cl-figure svg",
            "figure.cl-figure figcaption",
            "[data-widget]",
        ):
            colour = page.locator(part).first.evaluate("(element) => getComputedStyle(element).color")
            assert colour == "rgb(0, 0, 0)", part


def test_formulas_within_the_text_are_no_stops_of_the_tab_key(browser, built_book):
    with browser.new_context(viewport={"width": 1280, "height": 800}) as context:
        page, stops = shown(context.new_page(), built_book / "ewc.html"), []
        for _ in range(60):
            page.keyboard.press("Tab")
            stops.append(page.evaluate("() => document.activeElement.tagName"))
    assert "A" in stops and "MJX-CONTAINER" not in stops


@pytest.mark.parametrize(
    "find, body, expected",
    [
        (CUT_OFF, "<p><mjx-container><mjx-math style='width: 500px'></mjx-math></mjx-container>a</p>", "a"),
        (CUT_OFF, "<p><mjx-container><mjx-math style='width: 100px'></mjx-math></mjx-container>a</p>", None),
        (TOO_WIDE, "<mjx-container display=true><mjx-math style='width: 500px'>a</mjx-math>", "a"),
        (TOO_WIDE, "<mjx-container display=true><mjx-math style='width: 100px'>a</mjx-math>", None),
        (SQUEEZED, "<table><tr><td style='width: 40px'>words without a place", "words without a place"),
        (SQUEEZED, "<table><tr><td style='width: 90px'>words in their place", None),
    ],
)
def test_what_is_cut_off_or_squeezed_is_found(phone, tmp_path, find, body, expected):
    style = "mjx-container, mjx-math { display: inline-block; max-width: 100%; overflow: auto; }"
    style += " mjx-math { max-width: none; } td { word-break: break-all; }"
    (tmp_path / "page.html").write_text(f"<style>{style}</style><body class='bd-article'>{body}", "utf8")
    found = shown(phone, tmp_path / "page.html").evaluate(find)
    assert found == ([expected] if expected else [])
