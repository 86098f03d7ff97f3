#!/usr/bin/env bash
# Make the virtual environment $1 hold exactly what the lock file $2 says, and remember that it does: a second
# run compares two checksums and is done. $3 is the Python to build it with.
set -euo pipefail
venv=$1 lock=$2 python=${3:-python3}

fail() { printf '%s\n' "$*" >&2; exit 1; }

stamp=$venv/.installed-$(basename "$lock")
wanted=$(sha256sum < "$lock")
[[ -x $venv/bin/python && -f $stamp && $(< "$stamp") == "$wanted" ]] && exit 0

if [[ ! -x $venv/bin/python ]]; then
    command -v "$python" > /dev/null || fail "No '$python' found. Install Python 3.11 or newer, or: make PYTHON=/path/to/python3"
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "Python 3.11 or newer is needed, '$python' is $("$python" -V 2>&1). Try: make PYTHON=/path/to/python3.11"
    "$python" -c 'import ensurepip, venv' 2> /dev/null ||
        fail "'$python' cannot make virtual environments. On Debian and Ubuntu: apt-get install python3-venv"
    "$python" -m venv "$venv"
fi
echo "Installing $lock into $venv …"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --requirement "$lock"
printf '%s\n' "$wanted" > "$stamp"
