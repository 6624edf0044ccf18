"""Names what opens and closes on a page by what it opens, for those who hear the page or speak to it.

MyST-NB calls every folded cell "Toggle hidden content", whatever is written on it, and the theme's arrows
in the navigation have no name at all.
"""

FOLDED_CELL = '<summary aria-label="Toggle hidden content">'
# After the theme has put its functions for the navigation into the context, at 500.
PRIORITY = 600


def named(navigation):
    """Return the navigation with a name for each arrow: that of the page whose pages it shows."""
    for summary in navigation.select("li > details > summary"):
        link = summary.find_parent("li").find("a")
        summary["aria-label"] = f"Pages of {link.get_text(strip=True)}"
    return navigation


def _name_toggles(app, page, template, context, doctree):
    if "body" in context:
        context["body"] = context["body"].replace(FOLDED_CELL, "<summary>")
    if navigation := context.get("generate_toctree_html"):
        context["generate_toctree_html"] = lambda *args, **options: named(navigation(*args, **options))


def setup(app):
    """Look at each page before it is written."""
    app.connect("html-page-context", _name_toggles, priority=PRIORITY)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
