"""Names the notebook cache after everything a page's outputs depend on.

jupyter-cache recognises a page by its code cells alone, so a page would keep its old outputs when
the package behind those cells changes. Here the folder that holds the cache is named by a hash of
the files and package versions listed in the configuration. A new name is an empty cache, and
because the name is part of Sphinx's environment, every page is read, and so executed, again.
"""

import glob
import hashlib
import importlib.metadata
import os
import platform
import shutil
from pathlib import Path

KEPT_CACHES = 3


def execution_key(folder, patterns, packages):
    """Return a short hash of the files that match ``patterns``, of ``packages`` and of Python.

    Results that lie elsewhere, where ``CL_LIB_RESULTS`` points, are in it too.
    """
    digest = hashlib.sha256()
    lines = [f"python {platform.python_version()}", *(f"{p} {_version(p)}" for p in packages)]
    digest.update("\n".join(lines).encode())
    names = {n for p in patterns for n in glob.glob(p, root_dir=folder, recursive=True)}
    if results := os.environ.get("CL_LIB_RESULTS"):
        names |= set(glob.glob(f"{Path(results).expanduser().absolute()}/**/manifest.json", recursive=True))
    for name in sorted(names):
        content = hashlib.sha256(Path(folder, name).read_bytes()).hexdigest()
        digest.update(f"\n{Path(name).as_posix()} {content}".encode())
    return digest.hexdigest()[:16]


def remove_old_caches(folder, kept=KEPT_CACHES):
    """Delete all but the most recently used cache folders."""
    newest_first = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in newest_first[kept:]:
        shutil.rmtree(path, ignore_errors=True)


def _version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


def _choose_cache(app, config):
    key = execution_key(app.srcdir, config.execution_key_files, config.execution_key_packages)
    caches = Path(app.outdir).parent / ".jupyter_cache"
    cache = caches / key
    cache.mkdir(parents=True, exist_ok=True)
    os.utime(cache)
    remove_old_caches(caches)
    config.nb_execution_cache_path = str(cache)


def setup(app):
    """Register the configuration values and choose the cache before myst-nb reads its name."""
    # The pages train small networks: sharing their work among threads costs more than doing it.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    app.add_config_value("execution_key_files", [], "")
    app.add_config_value("execution_key_packages", [], "")
    app.connect("config-inited", _choose_cache)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
