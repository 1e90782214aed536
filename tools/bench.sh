#!/bin/sh
# make bench: measures; see tests/bench/bench.py.
set -eu
cd "$(dirname "$0")/.."
if [ "$(id -u)" != 0 ]; then
    echo "make bench needs root, because it makes sandboxes: sudo make bench" >&2
    exit 1
fi
tools/packages.sh build run up
# shellcheck disable=SC2086 # a list of words
exec python3 tests/bench/bench.py --build "${BUILD:-build}" ${BENCH_ARGS:-}
