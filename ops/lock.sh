#!/usr/bin/env bash
# Resolve the lock files: every package that any supported Python needs, with hashes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
tools=run/tools
[[ -x $tools/bin/uv ]] || { "${PYTHON:-python3}" -m venv "$tools" && "$tools/bin/pip" install --quiet uv; }

resolve() {
    "$tools/bin/uv" pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
        --no-header --no-annotate --output-file "$@"
}
resolve requirements/site.lock pyproject.toml --extra site
# The site's pins are a constraint: what is tested is what runs.
resolve requirements/dev.lock pyproject.toml --extra site --extra dev --constraint requirements/site.lock
# Peers that we are measured beside, and the site once more: its application runs under their server, too.
resolve requirements/bench.lock bench/requirements.in pyproject.toml --extra site --constraint requirements/site.lock
