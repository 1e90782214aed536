#!/bin/sh
# make fuzz: each libFuzzer target for S seconds; findings stay in build-fuzz/.
set -eu
cd "$(dirname "$0")/.."
tools/packages.sh build test
[ -f build-fuzz/build.ninja ] || CC=clang meson setup build-fuzz -Dfuzz=true -Db_sanitize=address,undefined -Db_lundef=false -Dbuildtype=debug
ninja -C build-fuzz
for target in $(find build-fuzz/tests/fuzz -type f -name "fuzz_*${T:-}*" -perm -u+x ! -name '*.p' | sort); do
    name=$(basename "$target")
    folder=tests/fuzz/$(basename "$(dirname "$target")")
    corpus=$folder/corpus-${name#fuzz_}
    work=build-fuzz/work-${name#fuzz_}
    mkdir -p "$work"
    set -- "$work"
    [ ! -d "$corpus" ] || set -- "$@" "$corpus"
    echo "== $name, ${S:-60} s"
    "$target" -max_total_time="${S:-60}" -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 -artifact_prefix="build-fuzz/$name-" \
        "$@" >"build-fuzz/$name.log" 2>&1 ||
        { tail -n 40 "build-fuzz/$name.log"; exit 1; }
    grep -E 'number_of_executed_units|new_units_added' "build-fuzz/$name.log"
done
