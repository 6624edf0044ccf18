"""The pages: their source, their HTML, and what a reader sees in a browser."""

import functools
import http.server
import re
import statistics
import threading

import check_site
import matplotlib.image as mpimg
import pytest
import yaml
from bs4 import BeautifulSoup
from conftest import BOOK, ROOT

PAGES = sorted(check_site.toc_pages(yaml.safe_load((ROOT / "_toc.yml").read_text("utf8"))))
SOURCES = {page: (BOOK / f"{page}.md").read_text("utf8") for page in PAGES}
CHAPTERS = ["forgetting", "ewc", "long_term_memory", "mas", "slnid", "comparison"]
TABLES = ["reproducing", "status"]  # folded cells that print a table each
MEDIAN_LINES, MAX_LINES = 6, 25
MAX_WORDS = 2500  # before the exercises
ALT_LENGTHS = range(40, 251)

FENCE = re.compile(r"^(`{3,})([^`\n]*)\n(.*?)^\1`*[ \t]*$", re.MULTILINE | re.DOTALL)
CELL_OPTIONS = re.compile(r"\A\s*(?:---\n.*?^---\n|(?::[^\n]*\n)+)", re.MULTILINE | re.DOTALL)
HEAD_OR_FORMULA = r"\A---\n.*?^---\n|\$\$.*?\$\$"
NOT_PROSE = re.compile(rf"{HEAD_OR_FORMULA}|\$[^$]+?\$|`[^`]+`", re.MULTILINE | re.DOTALL)
FOLDED = re.compile(r"^(:{3,})\{[^\n]*\n:class: dropdown\n.*?^\1[ \t]*$", re.MULTILINE | re.DOTALL)
# The level of an interval is a choice, not a result.
PERCENTAGE = re.compile(r"\d\s*(?:%|per ?cent\b)(?!\W+(?:\w+\W+)?(?:confidence|intervals?)\b)")


# The source


def code_cells(text):
    """Return for each code cell its number of lines, without blank lines and cell options."""
    bodies = [body for _, info, body in FENCE.findall(text) if info.startswith("{code-cell}")]
    bodies = [CELL_OPTIONS.sub("", body) for body in bodies]
    return [sum(bool(line.strip()) for line in body.splitlines()) for body in bodies]


def words_of_prose(text):
    """Return how many words a reader meets before the exercises, without cells, formulas, tables, answers."""
    text = FOLDED.sub("", FENCE.sub("", text.split("\n## Exercises")[0]))
    text = re.sub(HEAD_OR_FORMULA, "", text, flags=re.MULTILINE | re.DOTALL)
    return sum(len(line.split()) for line in text.splitlines() if not line.startswith(("|", ":")))


def typed_percentages(text):
    """Return the paragraphs that state a percentage without citing anybody for it."""
    paragraphs = re.split(r"\n\s*\n", FENCE.sub("", text))
    uncited = [paragraph for paragraph in paragraphs if "{cite" not in paragraph]
    return [p for p in uncited if PERCENTAGE.search(NOT_PROSE.sub("", p))]


def unsolved_exercises(text):
    """Return the labels of exercises without a solution, and of solutions without an exercise."""
    exercises, solutions = [], []
    for _, info, body in FENCE.findall(text):
        if re.match(r"\{exercise(-start)?\}", info):
            exercises += re.findall(r"^:label: *(\S+)", body, re.MULTILINE) or [f"no label:{info}"]
        elif re.match(r"\{solution(-start)?\}", info):
            solutions.append(info.split("}")[1].strip())
    return sorted(set(exercises) ^ set(solutions))


@pytest.mark.parametrize("page", PAGES)
def test_code_cells_are_short(page):
    lengths = code_cells(SOURCES[page])
    if lengths:
        assert max(lengths) <= MAX_LINES, sorted(lengths)
    if lengths and page not in TABLES:
        assert statistics.median(lengths) <= MEDIAN_LINES, sorted(lengths)


@pytest.mark.parametrize("page", CHAPTERS)
def test_a_chapter_is_short_enough_to_be_read(page):
    assert words_of_prose(SOURCES[page]) <= MAX_WORDS


@pytest.mark.parametrize("page", CHAPTERS)
def test_percentages_in_prose_are_computed_or_cited(page):
    assert typed_percentages(SOURCES[page]) == []


@pytest.mark.parametrize("page", PAGES)
def test_every_exercise_has_a_solution(page):
    assert unsolved_exercises(SOURCES[page]) == []


@pytest.mark.parametrize("page", CHAPTERS)
def test_chapters_have_what_the_template_asks_for(page):
    text = SOURCES[page]
    assert code_cells(text)
    assert ":class: chapter-card" in text
    assert re.search(r"^:class: predict\b", text, re.MULTILINE)
    assert re.search(r"^`{3,}\{exercise", text, re.MULTILINE)


def test_the_source_checks_can_fail():
    cell = "```{code-cell} python\n---\ntags: [a]\n---\nx = 1\n\ny = 2\n```\n"
    cells = cell + "````{code-cell} python\n:tags: [a]\n:b: c\n\n\nz\n````\n```python\nq\n```\n"
    assert code_cells(cells) == [2, 1]

    folded = ":::{admonition} Answer\n:class: dropdown\n\nfour five\n:::\n"
    card = ":::{admonition} Before\n:class: card\n\nsix seven\n:::\n"
    page = f"---\na: b\n---\n# One\n\ntwo $three$\n\n$$\nx y\n$$ (label)\n\n| z |\n{cell}{folded}{card}"
    assert words_of_prose(f"{page}\n## Exercises\n\neight") == 7  # "#" and "(label)" are two of them

    assert typed_percentages("It keeps 90% of it.\n\nOther text.") == ["It keeps 90% of it."]
    assert typed_percentages("It keeps 90 percent.") and typed_percentages("and 9 per cent")
    assert typed_percentages(f"Bands: 95 % $t$ intervals.\n\n$90 \\%$, `5%`\n\n{cell}") == []
    assert typed_percentages("It keeps 90% {cite}`a`.") == []

    exercise = "```{exercise-start} A\n:label: a\n```\n"
    assert unsolved_exercises(exercise) == ["a"]
    assert unsolved_exercises("```{exercise}\nB\n```") == ["no label:{exercise}"]
    assert unsolved_exercises(exercise + "```{solution-start} a\n```\n") == []


# The HTML


def article(built_book, page):
    html = (built_book / f"{page}.html").read_text("utf8")
    return BeautifulSoup(html, "html.parser").find("article")


def test_the_built_book_is_complete_and_asks_no_third_party(built_book):
    assert check_site.check(built_book, ROOT / "_toc.yml") == []


def figure_texts(element):
    """Return {start of the tag: alternative text} of all images and drawings."""
    drawings = [svg for svg in element.find_all("svg") if not svg.find_parent("svg")]
    drawings = [svg for svg in drawings if svg.get("aria-hidden") != "true"]
    texts = [(image, image.get("alt", "")) for image in element.find_all("img")]
    texts += [(svg, svg.get("role") == "img" and svg.get("aria-label") or "") for svg in drawings]
    return {str(tag)[:150]: text for tag, text in texts}


def poor_texts(element):
    """Return the images and drawings whose text is missing, too short, too long or a file name."""
    texts = figure_texts(element).items()
    return {
        tag: text
        for tag, text in texts
        if len(text) not in ALT_LENGTHS or re.search(r"\.(png|svg|jpg)$", text)
    }


@pytest.mark.parametrize("page", PAGES)
def test_every_figure_says_what_is_seen(built_book, page):
    assert poor_texts(article(built_book, page)) == {}


def shrunk_on_phones(element):
    """Return the figures that are too wide for a phone and have no second drawing for it."""
    widths = {
        f: [float(s["viewbox"].split()[2]) for s in f.find_all("svg")] for f in element.select("figure")
    }
    return [found for found in widths.values() if found and min(found) > 400]


@pytest.mark.parametrize("page", PAGES)
def test_no_figure_shrinks_much_on_a_phone(built_book, page):
    assert shrunk_on_phones(article(built_book, page)) == []


def test_the_figure_check_can_fail():
    good, named = "Two lines that cross, one of them rising.", "_images/" + "a" * 40 + ".png"
    html = f'<img src="a" alt="{good}"><svg role="img" aria-label="{good}"><svg></svg></svg>'
    html += '<svg aria-hidden="true"></svg>'
    assert poor_texts(BeautifulSoup(html, "html.parser")) == {}
    bad = f'<img src="a"><img alt="short"><img alt="{named}"><svg aria-label="{good}"></svg>'
    assert len(poor_texts(BeautifulSoup(bad, "html.parser"))) == 4
    wide, narrow = (f'<svg viewBox="0 0 {width} 300"></svg>' for width in (640, 340))
    figures = f"<figure>{wide}</figure><figure>{wide}{narrow}</figure><figure>{narrow}</figure>"
    assert shrunk_on_phones(BeautifulSoup(figures, "html.parser")) == [[640]]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_has_one_title_and_a_language(built_book, page):
    soup = BeautifulSoup((built_book / f"{page}.html").read_text("utf8"), "html.parser")
    assert len(soup.find("article").find_all("h1")) == 1
    assert soup.html["lang"] == "en"
    for name in ("og:title", "og:description"):
        assert soup.find("meta", property=name)["content"]
    address = soup.find("link", rel="canonical")["href"]
    assert re.fullmatch(rf"https://[^/]+\.github\.io(/[^/]+)?/{page}\.html", address)
    assert soup.find("meta", property="og:url")["content"] == address
    card = soup.find("meta", property="og:image")["content"].removeprefix(
        address.removesuffix(f"{page}.html")
    )
    assert mpimg.imread(built_book / card).shape[:2] == (600, 1146)


def test_mathjax_is_served_without_its_unused_parts(built_book):
    files = [path for path in (built_book / "_static" / "mathjax").rglob("*") if path.is_file()]
    assert any(path.suffix == ".woff" for path in files)
    assert 1e6 < sum(path.stat().st_size for path in files) < 2.5e6


# In a browser


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def address(built_book):
    """Serve the built book and return its address."""
    handler = functools.partial(Quiet, directory=built_book)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def visit(browser, address):
    """Return a function that opens a page; at the end nothing may have gone wrong on it."""
    contexts, problems = [], []

    def note_response(response):
        if response.status >= 400:
            problems.append(f"{response.status} for {response.url}")

    def note_request(request):
        if not request.url.startswith((address, "data:", "blob:")):
            problems.append(f"third-party request: {request.url}")

    def open_page(name, width=1280, theme="light"):
        context = browser.new_context(viewport={"width": width, "height": 900})
        contexts.append(context)
        context.add_init_script(
            f"localStorage.setItem('mode', '{theme}'); localStorage.setItem('theme', '{theme}')"
        )
        page = context.new_page()
        page.on("console", lambda m: m.type == "error" and problems.append(f"console: {m.text}"))
        page.on("pageerror", lambda error: problems.append(f"script: {error}"))
        page.on("requestfailed", lambda request: problems.append(f"failed: {request.url}"))
        page.on("request", note_request)
        page.on("response", note_response)
        page.goto(f"{address}/{name}.html", wait_until="networkidle")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []


# Formulas: wait for them, then count those that were set, that failed, and that should be there.
FORMULAS = """async () => {
  const wanted = document.querySelectorAll("article .math").length;
  if (wanted) { await MathJax.startup.promise; }
  const set = document.querySelectorAll("article .math mjx-container").length;
  return {wanted, set, failed: document.querySelectorAll("mjx-merror").length};
}"""
UNFOLD = """() => {
  document.querySelectorAll("details").forEach(details => { details.open = true; });
  document.querySelectorAll(".toggle-hidden").forEach(
    box => box.classList.remove("toggle-hidden"));
}"""
WIDE = """() => [...document.querySelectorAll("article *")]
  .filter(element => element.getBoundingClientRect().right > innerWidth + 1)
  .map(element => element.outerHTML.slice(0, 120)).slice(0, 5)"""
LIGHT_BOXES = """() => [...document.querySelectorAll("article div.cell_output .text_html")]
  .map(box => getComputedStyle(box).backgroundColor)
  .filter(colour => !/rgba\\(.*, 0\\)/.test(colour))"""


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 375])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_in_a_browser(visit, name, width, theme):
    page = visit(name, width, theme)
    assert page.evaluate("document.documentElement.dataset.theme") == theme

    formulas = page.evaluate(FORMULAS)
    assert formulas["set"] >= formulas["wanted"]
    assert formulas["failed"] == 0

    page.evaluate(UNFOLD)
    page_width = page.evaluate("document.documentElement.scrollWidth")
    assert page_width <= width, page.evaluate(WIDE)
    if theme == "dark":
        assert page.evaluate(LIGHT_BOXES) == []


def test_formulas_are_set_in_mathjax_fonts_of_the_site(visit):
    page = visit("notation")
    page.evaluate(FORMULAS)
    fonts = "[...document.fonts].filter(f => f.status == 'loaded').map(f => f.family)"
    page.evaluate("document.fonts.ready.then(() => true)")
    assert any(family.startswith("MJX") for family in page.evaluate(fonts))


def test_solutions_open_on_a_click(visit):
    page = visit("forgetting")
    solution = page.locator("div.solution.dropdown").first
    text = solution.locator(":scope > *").last
    assert not text.is_visible()
    solution.locator("button").first.click()
    assert text.is_visible()
