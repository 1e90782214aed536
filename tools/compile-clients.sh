#!/bin/sh
# Byte code of the Python runtime client, for each interpreter that irori finds in its usual places: inside a sandbox the
# folder is read-only, so it would be compiled anew at every cold start.
set -eu
cd "$(dirname "$0")/.."
for python in /usr/bin/python3.[0-9]* /usr/local/bin/python3.[0-9]* "${HOME:-/root}"/.pyenv/versions/*/bin/python3.[0-9]*; do
    case $python in *-config) continue ;; esac
    [ -x "$python" ] || continue
    "$python" -S -c 'import sys; sys.exit(sys.version_info < (3, 9))' 2>/dev/null || continue
    PYTHONDONTWRITEBYTECODE='' "$python" -S -m compileall -q -f --invalidation-mode checked-hash runtimes/python || :
done
