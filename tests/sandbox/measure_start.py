#!/usr/bin/env python3
"""Measures START sent to first byte received from a static bootstrap, on the real launcher. Used by tests/bench/bench.py.

    measure_start.py [--build DIR] [--count N] [--json]
"""
import argparse
import json
import os
import shutil
import statistics
import tempfile
import time


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    os.environ["IRORI_BUILD"] = args.build
    import driver  # it reads IRORI_BUILD

    folder = tempfile.mkdtemp(prefix="irori-start-")
    times_ms = []
    launcher = driver.Launcher(folder + "/data", instance="startest", share=driver.ROOT)
    try:
        code = launcher.add_code({"bootstrap": driver.compile_bootstrap(folder)})
        for _ in range(args.count):
            begun = time.monotonic()
            environment = launcher.start(code).hello()
            times_ms.append((time.monotonic() - begun) * 1000)
            environment.kill()
            time.sleep(0.03)  # a slot is prepared ahead of the next
    finally:
        launcher.stop()
        shutil.rmtree(folder, ignore_errors=True)
    times_ms.sort()
    result = {"p50_ms": statistics.median(times_ms), "p99_ms": times_ms[len(times_ms) * 99 // 100], "count": args.count}
    print(json.dumps(result) if args.json else f"p50 {result['p50_ms']:.2f} ms, p99 {result['p99_ms']:.2f} ms")


if __name__ == "__main__":
    main()
