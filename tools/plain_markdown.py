"""Turns a MyST page into Markdown that stock Jupyter and Colab show, and into code cells.

A directive, a role or a block that is not known here is refused with its page and line: a notebook
that shows MyST to its reader is worse than none. The text is edited where it stands; markdown-it,
with the extensions that the book is parsed with, says what each part of it is.
"""

import ast
import html
import re
from dataclasses import dataclass
from pathlib import Path

import yaml
from markdown_it.renderer import RendererHTML
from myst_parser.config.main import MdParserConfig
from myst_parser.parsers.mdit import create_md_parser

EXTENSIONS = {"amsmath", "attrs_block", "attrs_inline", "colon_fence", "deflist", "dollarmath"}
EXTENSIONS |= {"substitution", "tasklist"}
PARSER = create_md_parser(MdParserConfig(enable_extensions=EXTENSIONS), RendererHTML)

# What Jupyter and Colab show as it stands, by the name of its token without _open or _close.
PLAIN_BLOCKS = {"paragraph", "heading", "inline", "bullet_list", "ordered_list", "list_item", "blockquote"}
PLAIN_BLOCKS |= {"hr", "math_block", "table", "thead", "tbody", "tr", "th", "td"}
PLAIN_INLINE = {"text", "softbreak", "hardbreak", "em", "strong", "code_inline", "link", "image"}
PLAIN_INLINE |= {"math_inline", "math_inline_double", "html_inline", "myst_role"}
DROPPED = {"front_matter", "myst_line_comment", "myst_block_break", "myst_target"}
TITLES = {"note": "Note", "tip": "Tip", "warning": "Warning", "important": "Important"}
GATES = {"exercise-start", "exercise-end", "solution-start", "solution-end"}

DIRECTIVE = re.compile(r"\{([\w:-]+)\}\s*(.*)")
OPTION = re.compile(r"^:([\w-]+):[ \t]*(.*)$")
INLINE = re.compile(
    r"\{(?P<role>[\w:-]+)\}(?P<ticks>`+)(?P<content>.+?)(?P=ticks)"
    r"|(?P<code>(?P<fence>`+)(?!`).+?(?<!`)(?P=fence)(?!`))"
    r"|(?P<math>\$\$.+?\$\$|(?<!\\)\$(?!\s).+?(?<![\\\s])\$)"
    r"|(?<!!)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)"
    r'|<a href="#(?P<anchor>[^"]+)">',
    re.DOTALL,
)


@dataclass(frozen=True)
class Cell:
    """A cell of a notebook; ``title`` is the line that stays visible where code is folded."""

    kind: str
    text: str
    title: str = ""


@dataclass(frozen=True)
class Directive:
    """A directive of MyST: its name, argument, options and content."""

    name: str
    argument: str
    options: dict
    content: str


class UnknownConstruct(ValueError):
    """A page holds something that has no form in a notebook yet."""


def parse_directive(token):
    """Return the directive that a token holds, or None."""
    match = token.type in ("fence", "colon_fence") and DIRECTIVE.match(token.info.strip())
    if not match:
        return None
    lines, options = token.content.splitlines(), {}
    if lines and lines[0] == "---":
        end = lines.index("---", 1)
        options, lines = yaml.safe_load("\n".join(lines[1:end])), lines[end + 1 :]
    while lines and (option := OPTION.match(lines[0])):
        options[option[1]] = yaml.safe_load(option[2])
        lines = lines[1:]
    return Directive(match[1], match[2], options, "\n".join(lines).strip("\n"))


def directives(text):
    """Yield (token, directive) of a page in order, also of those inside another; equations too."""
    for token in PARSER.parse(text):
        directive = parse_directive(token)
        if token.type == "math_block_label" or directive:
            yield token, directive
        if directive and directive.name in {"admonition", "dropdown", *TITLES}:
            yield from directives(directive.content)


def one_line(match):
    """Return matched text on one line, as mathematics must be inside a quotation."""
    return re.sub(r"\s*\n\s*", " ", match[0].strip())


def quote(title, text):
    """Return a box as a quotation."""
    text = re.sub(r"\$\$.+?\$\$", one_line, text, flags=re.DOTALL)
    return "\n".join(f"> {line}".rstrip() for line in [f"**{title}**", "", *text.splitlines()])


def details(title, text):
    """Return a folded box."""
    return f"<details>\n<summary><b>{html.escape(title)}</b></summary>\n\n{text}\n\n</details>"


class PageConverter:
    """Converts one page: ``cells(text)``; ``site`` knows titles, labels, citations and addresses."""

    def __init__(self, page, site):
        self.page, self.site = page, site
        self.boxes = dict.fromkeys(("admonition", "dropdown", *TITLES), self._box)
        self.boxes |= {"literalinclude": self._literalinclude, "raw": self._picture}

    def refuse(self, what, line=None):
        """Say what cannot be converted, and where it stands."""
        place = f"{self.page}.md" + ("" if line is None else f", line {line + 1}")
        raise UnknownConstruct(
            f"{place}: no notebook form for {what}; write it otherwise, or teach tools/plain_markdown.py"
        )

    def cells(self, text):
        """Return the page as cells: text up to the next heading or code, and code."""
        cells, pending, solution = [], [], ""

        def flush():
            if pending:
                body = "\n\n".join(pending)
                cells.append(Cell("markdown", details(solution, body) if solution else body))
                pending.clear()

        for token, block in self._blocks(text):
            directive = parse_directive(token)
            name = directive.name if directive else ""
            if token.type == "heading_open" or name in GATES:
                flush()
            if name == "code-cell":
                flush()
                cells.append(self._code(directive, solution))
            elif name == "exercise-start":
                exercise = self.site.exercises[directive.options["label"]]
                pending.append(f"### {self.inline(exercise)}")
            elif name == "solution-start":
                solution = f"Solution to {self.site.exercises[directive.argument]}"
            elif name == "solution-end":
                solution = ""
            elif name not in GATES:
                pending.append(self._text(token, block, directive))
        flush()
        return [cell for cell in cells if cell.text]

    def markdown(self, text):
        """Return text without code cells as Markdown."""
        blocks = self._blocks(text)
        return "\n\n".join(self._text(token, block, parse_directive(token)) for token, block in blocks)

    def inline(self, text):
        """Return running text with its roles and links replaced."""
        return INLINE.sub(self._inline, text)

    def _blocks(self, text):
        """Yield (first token, source) of each block; refuse blocks that Jupyter does not know."""
        lines, tokens = text.splitlines(), PARSER.parse(text)
        for token in tokens:
            for child in token.children or []:
                if re.sub("_(open|close)$", "", child.type) not in PLAIN_INLINE:
                    self.refuse(f"{child.type} ({child.content!r})", token.map[0])
                if "class" in child.attrs or "id" in child.attrs:
                    self.refuse("attributes in braces", token.map[0])
            if token.level and re.sub("_(open|close)$", "", token.type) not in PLAIN_BLOCKS:
                self.refuse(f"{token.type} {token.info} inside a list or quotation", token.map[0])
            if token.level == 0 and token.map and token.type not in DROPPED:
                yield token, "\n".join(lines[slice(*token.map)]).strip("\n")

    def _text(self, token, block, directive):
        if token.type == "math_block_label":
            number = self.site.equations[token.info]
            return f"$$\n{token.content.strip()} \\tag{{{number}}}\n$$"
        if token.type == "math_block" or (token.type == "fence" and not directive):
            return block
        if token.type == "amsmath" and token.meta["numbered"] == "*":
            return token.content.strip()
        if directive and directive.name in self.boxes:
            return self.boxes[directive.name](directive)
        if directive or token.type.removesuffix("_open") not in PLAIN_BLOCKS:
            self.refuse(f"{token.type} {token.info}".strip(), token.map[0])
        return self.inline(block)

    def _code(self, directive, solution):
        unknown = directive.options.keys() - {"tags"}
        tags = set(directive.options.get("tags") or [])
        if unknown or tags - {"hide-input", "hide-cell", "remove-input"}:
            self.refuse(f"the cell option {sorted(unknown or tags)}")
        title = solution
        if "hide-cell" in tags:
            title = title or "Checks"
        elif tags & {"hide-input", "remove-input"}:
            title = title or ("Figure" if "plots.show(" in directive.content else "Set-up")
        return Cell("code", directive.content, title)

    def _box(self, directive):
        title = self.inline(directive.argument) or TITLES.get(directive.name, "")
        if directive.options.keys() - {"class", "name"}:
            self.refuse(f"the options {sorted(directive.options)} of {directive.name}")
        folded = directive.name == "dropdown" or "dropdown" in str(directive.options.get("class")).split()
        return (details if folded else quote)(title, self.markdown(directive.content))

    def _literalinclude(self, directive):
        if directive.options.keys() != {"pyobject"}:
            self.refuse(f"literalinclude with {sorted(directive.options)}")
        source = Path(self.site.folder, directive.argument).read_text(encoding="utf8")
        wanted = directive.options["pyobject"]
        found = [n for n in ast.parse(source).body if getattr(n, "name", None) == wanted]
        if not found:
            self.refuse(f"the missing object {wanted} of {directive.argument}")
        return f"```python\n{ast.get_source_segment(source, found[0])}\n```"

    def _picture(self, directive):
        file = directive.options.get("file")
        if directive.argument != "html" or not file or directive.content:
            self.refuse("raw text other than a widget's file")
        alt, data = self.site.picture(file)
        page = self.site.url(self.page)
        image = f'<a href="{page}"><img width="480" alt="{alt}" src="{data}"></a>'
        return f"{image}\n\n*On [the page]({page}) this figure is interactive.*"

    def _inline(self, match):
        if match["role"]:
            return self._role(match["role"], match["content"])
        if match["math"]:
            return one_line(match)
        if match["anchor"]:
            return f'<a href="{self.site.url(self.page)}#{match["anchor"]}">'
        if match["target"]:
            return self._link(match["text"], match["target"])
        return match[0]

    def _role(self, role, content):
        if role in ("cite", "cite:p"):
            cited = [self.site.citation(key.strip(), "{}, {}") for key in content.split(",")]
            return f"({'; '.join(cited)})"
        if role == "cite:t":
            return ", ".join(self.site.citation(key.strip(), "{} ({})") for key in content.split(","))
        if role == "math":
            return f"${content}$"
        if role in ("ref", "eq", "doc"):
            text, target = re.fullmatch(r"(?:(.*?)\s*<([^>]+)>)|.*", content, re.DOTALL).groups()
            target = target or content
            return self._link(text or "", f"{target}.md" if role == "doc" else f"#{target}")
        return self.refuse(f"the role {{{role}}}`{content}`")

    def _link(self, text, target):
        if re.match(r"[a-z]+:", target):
            return f"[{text}]({target})"
        if target.startswith("../") and (self.site.folder / target).is_file():  # outside the book
            return f"[{self.inline(text)}]({self.site.repository}/blob/HEAD/{target.removeprefix('../')})"
        page, _, label = target.partition("#")
        if label and not page:
            found = self.site.labels.get(label)
            title, url = found or self.refuse(f"a link to the unknown label {label}")
        else:
            name = page.removesuffix(".md")
            if not page.endswith(".md") or name not in self.site.titles:
                self.refuse(f"a link to {target}, which is not a page of the book")
            title, url = self.site.titles[name], self.site.url(name) + (f"#{label}" if label else "")
        return f"[{self.inline(text) or title}]({url})"
