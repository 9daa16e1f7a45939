#!/usr/bin/env bash
# Builds the site (target/site/index.html) from docs/ with mdBook, which is built once, and checks its links.
set -euo pipefail
cd "$(dirname "$0")/.."
version=0.5.4
tools="${CARGO_TARGET_DIR:-$PWD/target}/tools"
if ! "$tools/bin/mdbook" --version 2> /dev/null | grep -qF "v$version"; then
    cargo install mdbook --version "$version" --locked --no-default-features --features search --root "$tools" --quiet
fi
"$tools/bin/mdbook" build docs
python3 scripts/site/links.py target/site README.md
