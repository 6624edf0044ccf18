#!/usr/bin/env bash
# Tags the version in pyproject.toml, which the notebooks install, at the remote "origin". Where the tag is
# already there, fails if the package or its results have changed since. With --check, tags nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

version="v$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)"
tag="refs/tags/$version"

# 0 where the remote has the tag, 2 where it has not; anything else is a remote that did not answer.
answer=0
git ls-remote --quiet --exit-code --tags origin "$tag" >/dev/null || answer=$?
if ((answer == 0)); then
    depth=""
    [[ $(git rev-parse --is-shallow-repository) == true ]] && depth=--depth=1 # would cut off a full history
    git fetch --quiet ${depth:+"$depth"} origin "$tag"
    if ! git diff --quiet FETCH_HEAD HEAD -- cl_lib results pyproject.toml; then
        echo "::error::The notebooks install $version, but cl_lib, its results or pyproject.toml have changed since. Raise" \
            "the version in pyproject.toml and CITATION.cff, and run make notebooks."
        exit 1
    fi
    echo "$version is up to date."
elif ((answer != 2)); then
    echo "::error::origin does not say whether it has $version; is it reachable? Run this again."
    exit 1
elif [[ "${1:-}" == --check ]]; then
    echo "$version is to be tagged."
else
    git push --quiet origin "HEAD:$tag"
    echo "$version is tagged."
fi
