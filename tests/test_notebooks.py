"""The notebooks: in step with the book, free of MyST, and right about the site they link to."""

import base64
import functools
import re
import shutil

import book_facts
import nbformat
import plain_markdown
import pytest
from bs4 import BeautifulSoup
from conftest import BOOK, ROOT
from myst_nb.core.config import NbParserConfig
from myst_nb.core.read import create_nb_reader
from myst_parser.config.main import MdParserConfig

import notebooks

FOLDER = ROOT / "notebooks"
NAMES = sorted(path.stem for path in FOLDER.glob("*.ipynb"))
MYST = re.compile(
    r"^\s*(?:>\s*)*:{3,}|^\s*(?:>\s*)*`{3,}\{|\{[a-z][\w:+-]*\}`[^`\s]|^\([\w-]+\)=\s*$|^\$\$\s*\([\w-]+\)"
    r"|\]\((?!https?:)[^)]*\)|\[\]\(|^:[\w-]+: |^\s*\{[.#][\w-]",
    re.MULTILINE,
)


WORKS = "SITE/bibliography.html"
DETAILS = "<details>\n<summary><b>T</b></summary>\n\n`x`\n\n</details>"


@functools.cache
def read(name):
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


@pytest.fixture(scope="module")
def book():
    return book_facts.Book(ROOT)


def markdown_of(name):
    return "\n\n".join(cell.source for cell in read(name).cells if cell.cell_type == "markdown")


def prose_of(name):
    """Return the text of a notebook without code and formulas."""
    text = re.sub(r"^```.*?^```$", "", markdown_of(name), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"\$\$.*?\$\$|\$.*?\$", "", text, flags=re.DOTALL)


# In step with the book


def test_generating_again_changes_nothing(tmp_path):
    written = notebooks.write(tmp_path)
    assert sorted(written) == [f"{name}.ipynb" for name in NAMES]
    stale = [name for name in written if (tmp_path / name).read_bytes() != (FOLDER / name).read_bytes()]
    assert stale == [], "run `make notebooks` and commit"


def test_every_executable_page_and_no_other_is_a_notebook(book):
    assert sorted(book.executable) == NAMES
    assert {"forgetting", "ewc"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_code_is_that_of_the_page(name):
    text = (BOOK / f"{name}.md").read_text("utf8")
    page = create_nb_reader(f"{name}.md", MdParserConfig(), NbParserConfig(), text).read(text)
    wanted = [cell.source for cell in page.cells if cell.cell_type == "code"]
    code = [cell.source for cell in read(name).cells if cell.cell_type == "code"]
    assert "pip" in code[0]
    assert [re.sub(r"\A# @title .*\n", "", source) for source in code[1:]] == wanted


def test_a_page_that_is_gone_leaves_no_notebook(tmp_path):
    (tmp_path / "old.ipynb").touch()
    notebooks.write(tmp_path)
    assert not (tmp_path / "old.ipynb").exists()


# What a reader meets


@pytest.mark.parametrize("name", NAMES)
def test_no_myst_is_left(name):
    text = re.sub(r"^```.*?^```$", "", markdown_of(name), flags=re.MULTILINE | re.DOTALL)
    assert MYST.findall(text) == []


@pytest.mark.parametrize(
    "myst",
    [
        ":::{note}",
        "> :::",
        "```{raw} html",
        "see {cite:t}`a`",
        "{math}`x`",
        "(label)=",
        "$$ (eq)",
        "[a](b.md)",
    ]
    + ["[](#eq)", ":class: dropdown", "{.wide}"],
)
def test_the_check_for_myst_can_fail(myst):
    assert MYST.search(f"before\n\n{myst}\nafter")
    assert not MYST.search("> **A** [b](https://c) $x$ `{a}` (label) = 1\n\n$$\nx \\tag{1}\n$$\n")


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_clean(name):
    notebook = read(name)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    ids = [cell.id for cell in notebook.cells]
    assert len(set(ids)) == len(ids) and notebook.nbformat_minor >= 5
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)
    assert notebook.cells[0].source.startswith("# ")
    assert notebook.cells[1].cell_type == "code"
    titles = [cell.source.startswith("# @title ") for cell in code]
    assert titles == ["cellView" in cell.metadata for cell in code]


@pytest.mark.parametrize("name", NAMES)
def test_folded_boxes_are_closed_in_their_own_cell(name):
    for cell in read(name).cells:
        if cell.cell_type == "markdown":
            assert cell.source.count("<details>") == cell.source.count("</details>")
    solutions = re.findall(r"<summary><b>Solution to", markdown_of(name))
    exercises = re.findall(r"^### Exercise ", markdown_of(name), re.MULTILINE)
    source = (BOOK / f"{name}.md").read_text("utf8")
    assert len(exercises) == source.count("{exercise-start}")
    assert len(solutions) >= len(exercises)


# What it says about the site


def site_element(built_book, address, link):
    page, _, anchor = link.removeprefix(address).lstrip("/").partition("#")
    file = built_book / (page or "index.html")
    soup = file.is_file() and BeautifulSoup(file.read_text("utf8"), "html.parser")
    return soup and (soup.find(id=anchor) if anchor else soup)


@pytest.mark.parametrize("name", NAMES)
def test_links_to_the_site_lead_somewhere(built_book, book, name):
    links = set(re.findall(rf"{re.escape(book.address)}[^)\"\s]*", markdown_of(name)))
    cites = "{cite" in (BOOK / f"{name}.md").read_text("utf8")
    assert any("bibliography.html#" in link for link in links) == cites
    assert {link for link in links if not site_element(built_book, book.address, link)} == set()


@pytest.mark.parametrize("name", NAMES)
def test_equations_and_exercises_have_the_numbers_of_the_site(built_book, name):
    article = BeautifulSoup((built_book / f"{name}.html").read_text("utf8"), "html.parser").find("article")
    numbers = [re.search(r"\(([\d.]+)\)", tag.text)[1] for tag in article.find_all(class_="eqno")]
    assert re.findall(r"\\tag\{([\d.]+)\}", markdown_of(name)) == numbers
    exercises = [div.find("p").text for div in article.find_all("div", class_="exercise")]
    ours = re.findall(r"^### (Exercise .*)$", markdown_of(name), re.MULTILINE)
    assert ours == [" ".join(title.split()) for title in exercises]


@pytest.mark.parametrize("name", NAMES)
def test_works_are_cited_as_on_the_site(built_book, book, name):
    article = BeautifulSoup((built_book / f"{name}.html").read_text("utf8"), "html.parser").find("article")
    shown = re.sub(r"[\[\](),;]|\s+", " ", article.text)
    shown = re.sub(r" +", " ", shown)
    cited = set(re.findall(r"\[([^\]]+)\]\([^)]*bibliography\.html#", prose_of(name)))
    assert bool(cited) == ("{cite" in (BOOK / f"{name}.md").read_text("utf8"))
    flat = {re.sub(r" +", " ", re.sub(r"[(),]", " ", c)).strip() for c in cited}
    assert {label for label in flat if label not in shown} == set()


def test_pictures_are_those_of_the_widgets(book):
    used = "".join(markdown_of(name) for name in NAMES)
    assert used.count("data:image/png;base64,iVBORw0KGgo") == used.count("this figure is interactive") > 0
    stored = [base64.b64encode(png.read_bytes()).decode() for png in (FOLDER / "pictures").iterdir()]
    assert [data[:40] for data in stored if data not in used] == [], "a picture of an older drawing"
    texts = re.findall(r'<img width="480" alt="([^"]*)"', used)
    assert texts and all(40 <= len(text) <= 400 for text in texts)


def test_a_changed_drawing_is_drawn_again(tmp_path, monkeypatch):
    for name in ("book", "_config.yml", "_toc.yml"):
        (tmp_path / name).symlink_to(ROOT / name)
    drawn = []

    def draw(svg, png):
        drawn.append(svg)
        png.parent.mkdir(parents=True)
        png.write_bytes(b"picture")

    monkeypatch.setattr(book_facts, "draw", draw)
    book = book_facts.Book(tmp_path)
    for _ in range(2):
        alt, data = book.picture("assets/widgets/three-weights.html")
    assert len(drawn) == 1 and drawn[0].startswith("<svg") and alt in drawn[0]
    assert data == "data:image/png;base64," + base64.b64encode(b"picture").decode()


def test_a_missing_browser_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(FileNotFoundError, match="install chromium and run `make notebooks`"):
        book_facts.draw("<svg></svg>", tmp_path / "a.png")


@pytest.mark.parametrize(
    "repository, address",
    [
        ("https://github.com/Some-One/a-book", "https://some-one.github.io/a-book"),
        ("https://github.com/me/me.github.io/", "https://me.github.io"),
    ],
)
def test_the_address_of_the_site_follows_from_the_repository(repository, address):
    assert book_facts.site_address(repository) == address


# One construct at a time


@pytest.fixture
def converted(tmp_path, book):
    """Return a function that converts a text to [(kind, text, title)]."""
    for name in ("_config.yml", "_toc.yml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "_toc.yml").write_text(
        "{root: index, parts: [{numbered: 1, chapters: [{file: a}, {file: b}]}, {chapters: [{file: c}]}]}"
    )
    (tmp_path / "book").mkdir()
    shutil.copy(BOOK / "references.bib", tmp_path / "book")
    for page in ("index", "a", "c"):
        (tmp_path / "book" / f"{page}.md").write_text(f"({page}-top)=\n# Page {page}\n")

    def convert(text):
        (tmp_path / "book" / "b.md").write_text(f"# Page b\n\n{text}\n", encoding="utf8")
        tiny = book_facts.Book(tmp_path)
        cells = plain_markdown.PageConverter("b", tiny).cells(tiny.sources["b"])
        text = "\n\n".join(cell.text for cell in cells).replace(tiny.address, "SITE")
        convert.cells = cells
        return text.removeprefix("# Page b").strip()

    return convert


@pytest.mark.parametrize(
    "myst, plain",
    [
        ("see [](c.md) and [x](a.md#y)", "see [Page c](SITE/c.html) and [x](SITE/a.html#y)"),
        ("{doc}`c`, {ref}`a-top`", "[Page c](SITE/c.html), [Page a](SITE/a.html#a-top)"),
        ("{ref}`this <a-top>`", "[this](SITE/a.html#a-top)"),
        ("$$\nx\n$$ (e)\n\nby [](#e), {eq}`e`", None),
        (
            "{cite:t}`kirkpatrick2017ewc`",
            f"[Kirkpatrick et al. (2017)]({WORKS}#kirkpatrick2017ewc)",
        ),
        ("`{cite}` and ``a`b {ref}`` $a_{b}$", "`{cite}` and ``a`b {ref}`` $a_{b}$"),
        (":::{note}\ntext $a\n+b$\n$$\nc\n$$\n:::", "> **Note**\n>\n> text $a +b$\n> $$ c $$"),
        (":::{dropdown} A & b\nc\n:::", "<details>\n<summary><b>A &amp; b</b></summary>\n\nc\n\n</details>"),
        ("::::{admonition} T\n:class: dropdown\n`x`\n::::", DETAILS),
        ("% hidden\n\n+++\n\nseen", "seen"),
        ("- a\n- b {math}`x`\n\n> q", "- a\n- b $x$\n\n> q"),
        ("\\begin{align*}\na&=b\n\\end{align*}", "\\begin{align*}\na&=b\n\\end{align*}"),
    ],
)
def test_a_construct_becomes_plain_markdown(converted, myst, plain):
    text = converted(myst)
    if plain is None:
        link = "[(2.1)](SITE/b.html#equation-e)"
        assert text == f"$$\nx \\tag{{2.1}}\n$$\n\nby {link}, {link}"
    else:
        assert text == plain


def test_a_solution_is_folded_and_its_code_stays_a_cell(converted):
    converted(
        "```{exercise-start} Name\n:label: ex\n```\nTask.\n```{exercise-end}\n```\n\n"
        "```{solution-start} ex\n:class: dropdown\n```\nWhy.\n\n"
        "```{code-cell} python\n---\ntags: [hide-input]\n---\nx = 1\n```\n```{solution-end}\n```\nAfter."
    )
    kinds = [(cell.kind, cell.title) for cell in converted.cells]
    text, code = ("markdown", ""), ("code", "Solution to Exercise 2.1 (Name)")
    assert kinds == [text, text, text, code, text]
    starts = [cell.text.split("\n")[0] for cell in converted.cells[1:4]]
    assert starts == ["### Exercise 2.1 (Name)", "<details>", "x = 1"]
    assert converted.cells[4].text == "After."


def test_a_file_outside_the_book_is_a_link_into_the_repository(book):
    text = "[it](../tests/conftest.py)"
    [cell] = plain_markdown.PageConverter("index", book).cells(text)
    assert cell.text.strip() == f"[it]({book.repository}/blob/HEAD/tests/conftest.py)"
    with pytest.raises(plain_markdown.UnknownConstruct):
        plain_markdown.PageConverter("index", book).cells("[it](../tests/gone.py)")


@pytest.mark.parametrize(
    "myst",
    [
        "```{figure} a.png\n```",
        "```{code-cell} python\n:load: a.py\n```",
        "```{code-cell} python\n:tags: [remove-output]\nx\n```",
        ":::{note}\n```{code-cell} python\nx\n```\n:::",
        "- a\n\n  ```{note}\n  b\n  ```",
        "{glue}`x`",
        "{{ x }}",
        "[](#nowhere)",
        "[a](gone.md)",
        "[a](file.zip)",
        "term\n: definition",
        "word[^1]\n\n[^1]: note",
        "[a](a.md){.wide}",
        "<div>\na\n</div>",
        "\\begin{align}\na&=b\n\\end{align}",
        "```{raw} latex\nx\n```",
    ],
)
def test_an_unknown_construct_is_refused_with_its_page(converted, myst):
    with pytest.raises(plain_markdown.UnknownConstruct, match=r"b\.md.*no notebook form"):
        converted(myst)


def test_a_work_in_no_bibliography_is_named(converted):
    with pytest.raises(ValueError, match="nobody1900 is cited"):
        converted("{cite}`nobody1900`")
