#!/bin/sh
# make lint: what is too slow for every test run.
set -eu
cd "$(dirname "$0")/.."
tools/packages.sh build lint
status=0
# make builds with cc, gcc on Debian: here, as in make test, every warning of clang is an error, too.
echo "== clang"
[ -f build-lint/build.ninja ] || CC=clang meson setup build-lint
ninja -C build-lint || status=1
echo "== clang-format"
tools/check-format.sh || status=1
echo "== layers"
tools/check-layers.py . || status=1
echo "== clang-tidy"
git ls-files 'src/*.c' | xargs -P 2 -n 4 clang-tidy -p build-lint --quiet 2>/dev/null || status=1
echo "== codespell"
git ls-files '*.c' '*.h' '*.md' '*.py' '*.sh' | xargs codespell -L 'ser,te,crate,nd,ans,fo,aks,lates,raed' || status=1
echo "== shellcheck"
git ls-files '*.sh' .ci/run | xargs shellcheck || status=1
exit $status
