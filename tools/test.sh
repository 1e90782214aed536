#!/bin/sh
# make test: builds, then unit tests, replayed fuzz corpora, style, runtime clients and end-to-end tests.
set -eu
cd "$(dirname "$0")/.."
build=${BUILD:-build}
venv=${VENV:-.venv}
if [ "$(id -u)" != 0 ]; then
    echo "make test needs root, because it makes sandboxes: sudo make test" >&2
    exit 1
fi
tools/packages.sh build run up test
[ -f "$build/build.ninja" ] || meson setup "$build"
ninja -C "$build"
# The other compiler: warnings of clang are errors, too. make asan has built with it already.
if ! grep -q '"clang' "$build/compile_commands.json"; then
    [ -f build-lint/build.ninja ] || CC=clang meson setup build-lint
    ninja -C build-lint
fi
BUILD=$build tools/compile-clients.sh
tools/venv.sh "$venv"

rm -rf "$build/test"
mkdir -p "$build/test"
status=0
meson test -C "$build" --print-errorlogs --timeout-multiplier "${TIMEOUT_MULTIPLIER:-1}" || status=1
# Each folder has a conftest of its own, so each is a run of its own. Here and not in meson, whose setup would decide before
# the virtual environment is there.
for suite in ${SUITES:-unit/auth seccomp runtime sandbox e2e}; do
    echo "== tests/$suite"
    # shellcheck disable=SC2086 # a list of words
    IRORI_BUILD=$build "$venv/bin/python" -m pytest -p no:cacheprovider -q -rfEs --durations=5 \
        --junitxml "$build/test/$(echo "$suite" | tr / -).xml" ${PYTEST_ARGS:-} "tests/$suite" || status=1
done
exec "$venv/bin/python" tools/count-tests.py "$status" "$build/meson-logs/testlog.json" "$build"/test/*.xml
