"""Puts a rocket on each page that can be run, and the site's address into all pages' metadata.

Colab and Binder open the page's notebook in ``notebooks/``.

The theme's own buttons would open the page's ``.md``, which Colab cannot read. The repository is the
one in the configuration; in GitHub Actions it is the one that builds, so that a fork opens its own.
"""

import os
import shutil
from pathlib import Path
from urllib.parse import quote

from sphinx.util import logging

LOGGER = logging.getLogger(__name__)
FOLDER = "notebooks"
# After sphinx-book-theme has collected its own buttons, at 501.
PRIORITY = 600


def repository(configured, environ):
    """Return the address of the repository: of the one that builds, else the configured one."""
    name = environ.get("GITHUB_REPOSITORY")
    return f"{environ.get('GITHUB_SERVER_URL', 'https://github.com')}/{name}" if name else configured


def owner_and_name(repository_url):
    """Return by what GitHub knows a repository."""
    return repository_url.rstrip("/").removesuffix(".git").split("/")[-2:]


def site_address(repository_url):
    """Return the address of the site that GitHub Pages serves for a repository."""
    owner, name = owner_and_name(repository_url)
    host = f"https://{owner.lower()}.github.io"
    return host if f"{owner}.github.io".lower() == name.lower() else f"{host}/{name}"


def launch_addresses(repository_url, branch, page):
    """Return {service: address} that opens the notebook of a page."""
    path = "/".join(owner_and_name(repository_url))
    file = f"{FOLDER}/{page}.ipynb"
    opened = quote(f"lab/tree/{file}", safe="")
    return {
        "Colab": f"https://colab.research.google.com/github/{path}/blob/{branch}/{file}",
        "Binder": f"https://mybinder.org/v2/gh/{path}/{branch}?urlpath={opened}",
    }


def _link(text, tooltip, icon, url):
    return {"type": "link", "text": text, "tooltip": tooltip, "icon": icon, "url": url}


def _choose_repository(app, config):
    options = config.html_theme_options
    options["repository_url"] = repository(options.get("repository_url", ""), os.environ)
    if options["repository_url"]:  # for search engines, and for who shows what is linked to
        config.html_baseurl = config.ogp_site_url = f"{site_address(options['repository_url'])}/"


def _copy_notebooks(app):
    if app.builder.format == "html":
        downloads = Path(app.outdir) / "_downloads"
        downloads.mkdir(parents=True, exist_ok=True)
        for notebook in (Path(app.srcdir).parent / FOLDER).glob("*.ipynb"):
            shutil.copyfile(notebook, downloads / notebook.name)


def _add_buttons(app, page, template, context, doctree):
    buttons = context.get("header_buttons")
    front = app.env.metadata.get(page, {})
    if not buttons or "kernelspec" not in front or front.get("notebook") in (False, "False", "false"):
        return
    notebook = Path(app.srcdir).parent / FOLDER / f"{page}.ipynb"
    if not notebook.is_file():
        LOGGER.warning("%s has no notebook: run `make notebooks` and commit %s", page, notebook.name)
        return
    options = app.config.html_theme_options
    branch = options.get("repository_branch") or "main"
    found = launch_addresses(options["repository_url"], branch, page)
    colab = _link("Colab", "Run on Colab", "_static/images/logo_colab.png", found["Colab"])
    binder = _link("Binder", "Run on Binder", "_static/images/logo_binder.svg", found["Binder"])
    rocket = {"type": "group", "tooltip": "Run this page", "icon": "fas fa-rocket", "label": "launch-buttons"}
    buttons.insert(0, {**rocket, "buttons": [colab, binder]})

    url = context["pathto"](f"_downloads/{notebook.name}", 1)
    for group in buttons:
        if group.get("label") == "download-buttons":
            group["buttons"].insert(0, _link(".ipynb", "Download notebook", "fas fa-code", url))


def setup(app):
    """Choose the repository before the theme reads it, and add the buttons after the theme's own."""
    app.connect("config-inited", _choose_repository)
    app.connect("builder-inited", _copy_notebooks)
    app.connect("html-page-context", _add_buttons, priority=PRIORITY)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
