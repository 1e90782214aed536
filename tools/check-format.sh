#!/bin/sh
# Fails when clang-format would change a C file. Skipped (77) without clang-format.
set -eu
cd "${1:-$(dirname "$0")/..}"
command -v clang-format >/dev/null || exit 77
find src tests -name '*.[ch]' -not -path '*/node_modules/*' -print0 | xargs -0 clang-format --dry-run -Werror
