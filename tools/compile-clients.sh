#!/bin/sh
# What the runtime clients have that is compiled: the library for Node's templates, which the build has made, and byte code
# of Python's. Byte code of the Python runtime client, for each interpreter that irori finds in its usual places: inside a sandbox the
# folder is read-only, so it would be compiled anew at every cold start.
set -eu
cd "$(dirname "$0")/.."
library=${BUILD:-build}/src/preload/dense-heap.so
cmp -s "$library" runtimes/node/lib/dense-heap.so || install "$library" runtimes/node/lib/
for python in /usr/bin/python3.[0-9]* /usr/local/bin/python3.[0-9]* "${HOME:-/root}"/.pyenv/versions/*/bin/python3.[0-9]*; do
    case $python in *-config) continue ;; esac
    [ -x "$python" ] || continue
    "$python" -S -c 'import sys; sys.exit(sys.version_info < (3, 9))' 2>/dev/null || continue
    PYTHONDONTWRITEBYTECODE='' "$python" -S -m compileall -q -f --invalidation-mode checked-hash runtimes/python || :
done
