#!/bin/sh
# Write requirements*.lock and tools/requirements-uv.txt: every package that Berth installs, with
# hashes, for Linux and macOS.
# Needs uv (https://docs.astral.sh/uv/) on the PATH.
set -eu
cd "$(dirname "$0")/.."
lock() {
    output=$1
    shift
    uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
        --no-emit-index-url --no-emit-find-links --no-emit-package berth \
        --custom-compile-command tools/lock_requirements.sh \
        --output-file "$output" requirements.txt "$@"
}
lock requirements.lock
lock requirements-package.lock pyproject.toml --extra package --extra sign
lock requirements-dev.lock pyproject.toml --extra lightgbm --extra xgboost --extra sign --group dev
echo uv | uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
    --no-emit-index-url --no-emit-find-links --custom-compile-command tools/lock_requirements.sh \
    --output-file tools/requirements-uv.txt -
