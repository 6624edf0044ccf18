"""What a page says about another: titles, numbers, labels, citations and addresses of the book."""

import base64
import hashlib
import re
import sys
from pathlib import Path

import yaml
from browsers import BROWSERS, first_installed
from PIL import Image
from plain_markdown import PARSER, directives
from pybtex.database import parse_file

sys.path.append(str(Path(__file__).parents[1] / "book" / "_ext"))

from launch_notebooks import site_address  # noqa: E402

NO_BROWSER = (
    "{0} changed, and no Chromium was found to draw its picture {1}: install chromium and "
    "run `make notebooks` again"
)


def toc_chapters(toc):
    """Return {page: chapter number, or None} of a table of contents, in its order."""
    pages, number = {toc["root"]: None}, 0
    for part in toc.get("parts", []):
        for chapter in part["chapters"]:
            number += bool(part.get("numbered"))
            for entry in (chapter, *chapter.get("sections", [])):
                pages[entry["file"].removesuffix(".md")] = number if part.get("numbered") else None
    return pages


def author_and_year(entry):
    """Return the names and the year by which a work is cited."""
    people = [" ".join([*person.prelast_names, *person.last_names]) for person in entry.persons["author"]]
    names = [re.sub(r"[{}]", "", person) for person in people]
    if len(names) > 2:
        return f"{names[0]} et al.", entry.fields["year"]
    return " and ".join(names), entry.fields["year"]


class Book:
    """The book in ``root``, read from its sources."""

    def __init__(self, root):
        self.root, self.folder = Path(root), Path(root, "book")
        config = yaml.safe_load((self.root / "_config.yml").read_text(encoding="utf8"))
        toc = yaml.safe_load((self.root / "_toc.yml").read_text(encoding="utf8"))
        self.title = config["title"]
        self.repository = config["repository"]["url"].rstrip("/").removesuffix(".git")
        self.address, self.pages = site_address(self.repository), toc_chapters(toc)
        self.sources = {p: (self.folder / f"{p}.md").read_text(encoding="utf8") for p in self.pages}
        self.works = {}
        for name in config["bibtex_bibfiles"]:
            self.works |= parse_file(str(self.folder / name), encoding="utf8").entries
        self.titles, self.labels, self.equations, self.exercises = {}, {}, {}, {}
        for page in self.pages:
            self._read(page)

    @property
    def executable(self):
        """Return the pages that a reader can run: with a kernel, and not marked ``notebook: false``."""
        fronts = {
            page: re.match(r"---\n(.*?)^---\n", text, re.S | re.M) for page, text in self.sources.items()
        }
        found = {page: yaml.safe_load(front[1]) for page, front in fronts.items() if front}
        return [p for p, front in found.items() if "kernelspec" in front and front.get("notebook", True)]

    def url(self, page):
        """Return the address of a page."""
        return f"{self.address}/{page}.html"

    def citation(self, key, form):
        """Return a link to a work in the bibliography."""
        if key not in self.works:
            raise ValueError(f"{key} is cited but in none of the book's bibliographies; add the work there")
        return f"[{form.format(*author_and_year(self.works[key]))}]({self.url('bibliography')}#{key})"

    def picture(self, file):
        """Return the text and the content, as data, of the static picture of a widget.

        The picture is a PNG, because Colab shows no SVG in text. It is named by the drawing from which
        it was made, and drawn only when there is none of that name.
        """
        widget = (self.folder / file).read_text(encoding="utf8")
        [svg] = re.findall(r"<svg.*?</svg>", widget, re.DOTALL)
        alt = re.search(r'aria-label="([^"]+)"', svg)[1]
        name = f"{Path(file).stem}-{hashlib.sha256(svg.encode()).hexdigest()[:12]}.png"
        png = self.root / "notebooks" / "pictures" / name
        if not png.exists():
            draw(svg, png)
        return alt, "data:image/png;base64," + base64.b64encode(png.read_bytes()).decode()

    def _read(self, page):
        tokens, equation, exercise = PARSER.parse(self.sources[page]), 0, 0
        chapter = f"{self.pages[page]}." if self.pages[page] else ""
        headings = [i for i, token in enumerate(tokens) if token.type == "heading_open"]
        self.titles[page] = tokens[headings[0] + 1].content
        for before, token, after in zip(tokens, tokens[1:], tokens[2:], strict=False):
            if before.type == "myst_target" and token.type == "heading_open":
                self.labels[before.content] = after.content, f"{self.url(page)}#{before.content}"
        for token, directive in directives(self.sources[page]):
            if token.type == "math_block_label":
                equation += 1
                number = f"{chapter}{equation}"
                self.equations[token.info] = number
                self.labels[token.info] = f"({number})", f"{self.url(page)}#equation-{token.info}"
            elif directive.name == "exercise-start":
                exercise += 1
                label, title = directive.options["label"], f"Exercise {chapter}{exercise}"
                self.exercises[label] = f"{title} ({directive.argument})"
                self.labels[label] = title, f"{self.url(page)}#{label}"


def draw(svg, png):
    """Draw a picture that follows the page's colours as a PNG on white, twice its size on a page."""
    browser = first_installed(*BROWSERS)
    if browser is None:
        raise FileNotFoundError(NO_BROWSER.format("a widget", png.name))
    from playwright.sync_api import sync_playwright

    png.parent.mkdir(exist_ok=True)
    page_style = "margin:0;padding:8px;width:480px;background:#fff;color:#222;font-family:sans-serif"
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        page = chromium.new_page(device_scale_factor=2)
        page.set_content(f'<body style="margin:0"><div style="{page_style}">{svg}</div></body>')
        page.locator("div").screenshot(path=png)
        chromium.close()
    Image.open(png).quantize(32).save(png, optimize=True)
