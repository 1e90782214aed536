#!/bin/sh
# make asan: everything again, built with address and undefined behaviour sanitizers.
set -eu
cd "$(dirname "$0")/.."
build=${BUILD:-build-asan}
tools/packages.sh build run up test
[ -f "$build/build.ninja" ] || CC=clang meson setup "$build" -Db_sanitize=address,undefined -Db_lundef=false -Dbuildtype=debug
# A small quarantine: tests look for memory that grows.
export ASAN_OPTIONS=detect_leaks=1:abort_on_error=0:exitcode=99:quarantine_size_mb=4:thread_local_quarantine_size_kb=64 UBSAN_OPTIONS=print_stacktrace=1
TIMEOUT_MULTIPLIER=4 BUILD=$build exec tools/test.sh
