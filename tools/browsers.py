"""The browser that draws pictures and tries pages out."""

import shutil

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def browser_path():
    """Return the path of the first browser found, or None."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)
