"""Serves MathJax from the site itself, so that a page asks no third party for its formulas.

The PyPI package sphinx-mathjax-offline carries all of MathJax, 24 MB. Used as a Sphinx extension it
would copy all of it into the site; here only what a browser may ask for is copied, about 2 MB.
"""

import filecmp
import importlib.metadata
import shutil
from pathlib import Path

PACKAGE = "sphinx-mathjax-offline"
# MathJax finds its fonts and TeX extensions beside its own script, so its layout is kept.
PARTS = ["tex-chtml.js", "input/tex/extensions/*.js", "output/chtml/fonts/woff-v2/*.woff"]


def _copy_mathjax(app):
    if app.builder.format != "html":
        return
    source = Path(importlib.metadata.distribution(PACKAGE).locate_file(f"{PACKAGE}/static/mathjax"))
    target = Path(app.outdir) / "_static" / "mathjax"
    for file in (file for part in PARTS for file in source.glob(part)):
        copy = target / file.relative_to(source)
        if not (copy.exists() and filecmp.cmp(file, copy)):  # the same size and time, or the same content
            copy.parent.mkdir(parents=True, exist_ok=True)
            part = copy.with_name(f"{copy.name}.part")
            shutil.copy2(file, part)
            part.replace(copy)


def setup(app):
    """Copy MathJax before the pages are written, which then can name the script with a checksum."""
    app.connect("builder-inited", _copy_mathjax)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
