"""The browser that draws pictures and tries pages out."""

import shutil

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def first_installed(*names):
    """Return the path of the first program found, or None."""
    return next(filter(None, map(shutil.which, names)), None)
