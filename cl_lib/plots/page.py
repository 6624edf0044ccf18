"""A figure on a page: inline SVG that follows the page's colours and font."""

import hashlib
import html
import io
import re
from xml.etree import ElementTree

import matplotlib as mpl
from matplotlib.figure import Figure

from cl_lib.plots.narrow import narrowed

# A coloured word is this much colour, the rest text colour: 4.5:1 on a light and on a dark page.
INK = 0.65
# A figure of more pixels is drawn for phones, too; one of fewer shrinks little there.
WIDE = 400


def show(fig: Figure, *, alt: str, caption: str | None = None, name: str | None = None):
    """Put a figure on the page as inline SVG that follows the page's colours and font.

    A figure of more than 400 pixels is drawn a second time for phones, which the book shows there instead;
    not one that holds a function of a cell, which cannot be copied, or panels that are no plain grid.

    Parameters
    ----------
    fig : matplotlib Figure
        It is closed.
    alt : str of 40 to 250 characters
        What is seen, for a reader who does not see it.
    caption : str, optional
        What was found: plain text, Unicode maths, ``*word*`` and ``**word**`` for emphasis.
    name : str, optional
        The figure's ``id``; in a chapter, link to it by ``<a href="#name">``.

    Returns
    -------
    IPython.display.HTML
        ``<figure class="cl-figure">``; equal figures give equal characters.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described above.
    """
    from IPython.display import HTML
    from matplotlib import pyplot

    _check_words(fig, alt, caption, name)
    pyplot.close(fig)  # before it is copied: pyplot would keep the copy of an open figure open
    narrow = narrowed(fig) if fig.get_figwidth() * 72 > WIDE else None
    kind, svg = "cl-figure", _themed_svg(fig, alt.strip())
    if narrow:
        kind, svg = "cl-figure cl-wide", svg + _themed_svg(narrow, alt.strip(), hidden=True)
    identity = f' id="{name}"' if name else ""
    paper = "--cl-paper: var(--pst-color-background, var(--jp-layout-color0, transparent))"
    page = f'<figure class="{kind}"{identity} style="margin: 1em 0; {paper}">\n{svg}'
    if caption:
        page += f'<figcaption style="font-size: 0.9em">{_emphasis(caption)}</figcaption>\n'
    return HTML(page + "</figure>")


def _check_words(fig, alt, caption, name) -> None:
    if not isinstance(fig, Figure):
        raise TypeError(f"fig is a {type(fig).__name__}, but must be a matplotlib Figure.")
    length = len(alt.strip()) if isinstance(alt, str) else 0
    if not 40 <= length <= 250:
        raise ValueError(
            f"alt has {length} characters, but must have 40 to 250: say in a sentence or two what "
            "is seen (which lines, where they go) for a reader who does not see the figure."
        )
    if caption is not None and not (isinstance(caption, str) and caption.strip()):
        raise ValueError(f"caption is {caption!r}, but must be a sentence that states the finding.")
    if name is not None and not re.fullmatch(r"[A-Za-z][\w-]*", name):
        raise ValueError(f"name is {name!r}, but must be a letter, then letters, digits, - or _.")


def _emphasis(text: str) -> str:
    """HTML of plain text with *a* and **a** as emphasis; the star of θ* stays a star."""
    text = html.escape(text, quote=False)
    for star, tag in ((r"\*\*", "strong"), (r"\*", "em")):
        text = re.sub(rf"(?<![\w*]){star}(\S|\S.*?\S){star}(?![\w*])", rf"<{tag}>\1</{tag}>", text)
    return text


def _themed_svg(fig: Figure, alt: str, *, hidden: bool = False) -> str:
    """Draw the figure as SVG in the page's text colour, background and font."""
    for patch in (fig.patch, *(ax.patch for ax in fig.axes)):
        *colour, alpha = patch.get_facecolor()
        if alpha == 0 or colour == [1, 1, 1]:
            patch.set_visible(False)
    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "cl_lib"}):
        fig.savefig(buffer, format="svg", metadata={"Date": None})
    root = ElementTree.fromstring(buffer.getvalue())
    for element in list(root):
        # The metadata credit the drawing program; the style sheet would restyle the whole page.
        if element.tag.endswith("metadata") or element.find("{*}style") is not None:
            root.remove(element)
    for element in root.iter():
        _adapt(element)
    box = root.get("viewBox")
    root.attrib = {
        "xmlns": "http://www.w3.org/2000/svg",
        "viewBox": box,
        "role": "img",
        "aria-label": alt,
        "fill": "currentColor",
        "stroke-linejoin": "round",
        "style": f"display: {'none' if hidden else 'block'}; width: 100%; "
        f"max-width: {box.split()[2]}px; height: auto; overflow: visible",
    }
    return _own_ids(ElementTree.tostring(root, encoding="unicode"))


def _adapt(element) -> None:
    """Black becomes the page's text colour, white its background, and text takes its font."""
    element.tag = element.tag.rpartition("}")[2]
    element.text, element.tail = (element.text or "").strip(), "\n"
    for key, value in list(element.attrib.items()):
        del element.attrib[key]
        if key in ("d", "x", "y"):
            value = re.sub(r"-?\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}", value)
        if not value.startswith("rotate(-0 "):
            element.set(key.rpartition("}")[2], " ".join(value.split()))
    rules = dict(rule.split(": ", 1) for rule in element.get("style", "").split("; ") if rule)
    rules.pop("font-family", None)
    for key in ("fill", "stroke"):
        page = {"#000000": "currentColor", "#ffffff": "var(--cl-paper)"}
        if key in rules:
            rules[key] = page.get(rules[key], rules[key])
    if "font-size" in rules and rules.get("fill", "").startswith("#"):
        rules["fill"] += f"; fill: color-mix(in srgb, {rules['fill']} {INK:.0%}, currentColor)"
    if rules:
        element.set("style", "; ".join(f"{key}: {value}" for key, value in rules.items()))


def _own_ids(svg: str) -> str:
    """Keep the ids that something refers to, and name them after the content of the figure."""
    used = list(dict.fromkeys(re.findall(r'(?:url\(|href=")#([\w.-]+)', svg)))
    svg = re.sub(r' id="([\w.-]+)"', lambda found: found[0] if found[1] in used else "", svg)
    content = hashlib.sha256(svg.encode()).hexdigest()[:10]
    names = {old: f"cl-{content}-{k}" for k, old in enumerate(used)}
    place = re.compile(r'(id="|url\(#|href="#)([\w.-]+)')
    return place.sub(lambda found: found[1] + names[found[2]], svg)
