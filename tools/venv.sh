#!/bin/sh
# A virtual environment with what the tests import, made once and renewed when the requirements change.
set -eu
venv=$1
requirements=$(dirname "$0")/../tests/requirements.txt
stamp=$venv/requirements.sum
sum=$(cksum <"$requirements")
[ -f "$stamp" ] && [ "$(cat "$stamp")" = "$sum" ] && exit 0
python3 -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check -r "$requirements"
echo "$sum" >"$stamp"
