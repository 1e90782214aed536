#!/usr/bin/env python3
"""Adds up meson's and pytest's results; the last line of `make test` is "N passed, N failed, N skipped".

Usage: count-tests.py STATUS MESON-LOG PYTEST-XML... Exits with 1 when STATUS is not 0 or anything failed.
"""
import json
import sys
import xml.etree.ElementTree

status, meson_log, pytest_xmls = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
passed = failed = skipped = 0

with open(meson_log) as log:
    for line in log:
        result = json.loads(line)["result"]
        if result in ("OK", "EXPECTEDFAIL"):
            passed += 1
        elif result == "SKIP":
            skipped += 1
        else:
            failed += 1

for suite in (suite for path in pytest_xmls for suite in xml.etree.ElementTree.parse(path).getroot().iter("testsuite")):
    count = {name: int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")}
    failed += count["failures"] + count["errors"]
    skipped += count["skipped"]
    passed += count["tests"] - count["failures"] - count["errors"] - count["skipped"]

print(f"{passed} passed, {failed} failed, {skipped} skipped")
sys.exit(1 if status or failed else 0)
