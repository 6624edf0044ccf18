#!/usr/bin/env bash
# Tags the version in pyproject.toml, which the notebooks install, at the remote "origin". Where the tag is
# already there, fails if the package or its results have changed since. With --check, tags nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

version="v$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)"
if git fetch --quiet --depth=1 origin "refs/tags/$version:refs/tags/$version" 2>/dev/null; then
    if ! git diff --quiet "$version" HEAD -- cl_lib results pyproject.toml; then
        echo "::error::The notebooks install $version, but cl_lib, its results or pyproject.toml have changed since. Raise" \
            "the version in pyproject.toml and CITATION.cff, and run make notebooks."
        exit 1
    fi
    echo "$version is up to date."
elif [[ "${1:-}" == --check ]]; then
    echo "$version is to be tagged."
else
    git tag "$version"
    git push --quiet origin "refs/tags/$version"
    echo "$version is tagged."
fi
