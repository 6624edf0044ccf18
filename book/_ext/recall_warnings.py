"""Makes a build that warned warn again the next time.

Sphinx reads only the pages that changed, and a page that is not read cannot warn: a strict build
that failed on a warning would succeed when simply run again. After a build with warnings the saved
environment is deleted, and the next build reads every page (notebook outputs stay cached).
"""

from pathlib import Path

from sphinx.application import ENV_PICKLE_FILENAME


def _forget_environment(app, exception):
    if app._warncount:
        Path(app.doctreedir, ENV_PICKLE_FILENAME).unlink(missing_ok=True)


def setup(app):
    """Look at the number of warnings when the build is over."""
    app.connect("build-finished", _forget_environment)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
