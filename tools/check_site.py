"""Checks a built site: python tools/check_site.py SITE TOC.

The site holds exactly the pages of the table of contents, no page shows a traceback, nothing is
loaded from another host, and every local file that a page loads is there, in whatever folder of a
host the site will lie.
"""

import os
import re
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import yaml
from bs4 import BeautifulSoup

MADE_BY_SPHINX = {"genindex", "py-modindex", "search"}
LINKS_THAT_LOAD = {
    "dns-prefetch", "icon", "manifest", "modulepreload", "preconnect", "prefetch", "preload",
    "stylesheet",
}  # fmt: skip
CSS_URL = re.compile(r"""url\(\s*['"]?([^'")]+)|@import\s+['"]([^'"]+)""")
MODULE_URL = re.compile(r"""\b(?:import|from)\s*\(?\s*['"]([^'"]+)""")
# As browsers read it: a comma inside of an address belongs to it.
SRCSET_URL = re.compile(r"[\s,]*(\S*[^\s,])(?:\s[^,]*)?")


def toc_pages(toc):
    """Return the names of all pages in a Jupyter Book table of contents."""
    pages = {toc["root"]} if "root" in toc else set()
    if "file" in toc:
        pages.add(toc["file"])
    for group in ("parts", "chapters", "sections", "subtrees", "entries"):
        for entry in toc.get(group, []):
            pages |= toc_pages(entry)
    return {page.removesuffix(".md") for page in pages}


def site_pages(site):
    """Return the names of all pages in a built site that come from a source file."""
    files = (path.relative_to(site) for path in site.rglob("*.html"))
    names = {path.with_suffix("").as_posix() for path in files if path.parts[0] != "_static"}
    return names - MADE_BY_SPHINX


def loaded_urls(soup):
    """Yield every URL that a browser asks for when it opens the page."""
    for tag in soup.find_all(src=True):
        yield tag["src"]
    for tag in soup.find_all(["img", "source"], srcset=True):
        yield from SRCSET_URL.findall(tag["srcset"])
    for tag in soup.find_all("video", poster=True):
        yield tag["poster"]
    for tag in soup.find_all(["image", "use", "feimage", "script"]):  # of an SVG
        yield from (tag[name] for name in ("href", "xlink:href") if tag.has_attr(name))
    for tag in soup.find_all("script", type="module"):
        yield from module_urls(tag.get_text())
    for tag in soup.find_all("object", data=True):
        yield tag["data"]
    for tag in soup.find_all("link", href=True):
        if LINKS_THAT_LOAD & set(tag.get("rel", [])):
            yield tag["href"]
    for tag in soup.find_all("style"):
        yield from css_urls(tag.get_text())
    for tag in soup.find_all(style=True):
        yield from css_urls(tag["style"])


def css_urls(css):
    """Yield every URL in a style sheet."""
    for match in CSS_URL.finditer(css):
        yield match[1] or match[2]


def module_urls(script):
    """Yield every URL that a JavaScript module imports by its name."""
    yield from MODULE_URL.findall(script)


def url_problem(url, folder, site):
    """Say what is wrong with a URL loaded from a file in ``folder``, or return None."""
    parts = urlsplit(url.strip())
    if parts.scheme == "data" or not (parts.path or parts.netloc):
        return None
    if parts.scheme or parts.netloc:
        return f"loads {url} from another host"
    if parts.path.startswith("/"):
        return f"loads {url}, which is found only where the site is the whole host: use a relative path"
    file = Path(os.path.abspath(folder / unquote(parts.path)))
    if not (file.is_relative_to(os.path.abspath(site)) and file.is_file()):
        return f"loads {url}, which is not in the site"
    return None


def page_problems(path, site):
    """Return what is wrong with one page."""
    html = path.read_text(encoding="utf8")
    soup = BeautifulSoup(html, "html.parser")
    problems = [url_problem(url, path.parent, site) for url in loaded_urls(soup)]
    # Highlighting splits the words of a traceback into spans, so the text is searched.
    if "Traceback (most recent call last)" in soup.get_text():
        problems.append("shows a traceback")
    return [problem for problem in problems if problem]


def check(site, toc_file):
    """Return one line for each problem of a built site."""
    wanted, built = toc_pages(yaml.safe_load(toc_file.read_text(encoding="utf8"))), site_pages(site)
    problems = [f"{page}: in {toc_file.name} but not built" for page in sorted(wanted - built)]
    problems += [
        f"{page}: built but not in {toc_file.name}; an old page? (make clean)"
        for page in sorted(built - wanted)
    ]
    for page in sorted(built):
        problems += [f"{page}: {p}" for p in page_problems(site / f"{page}.html", site)]
    for suffix, urls in ((".css", css_urls), (".mjs", module_urls)):
        for file in sorted(site.rglob(f"*{suffix}")):
            found = (url_problem(url, file.parent, site) for url in urls(file.read_text("utf8")))
            problems += [f"{file.relative_to(site).as_posix()}: {p}" for p in found if p]
    return problems


def main(site, toc_file):
    """Print the problems of a site; return the exit status."""
    problems = check(Path(site), Path(toc_file))
    print("\n".join(problems) if problems else f"{site}: all pages built and complete")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
