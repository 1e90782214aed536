"""Where things are in the checkout."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
FUNCTIONS = ROOT / "tests" / "functions"
BUILD = Path(os.environ.get("IRORI_BUILD", ROOT / "build")).resolve()
IRORI = BUILD / "irori"
LONG = os.environ.get("IRORI_LONG") == "1"
# Sanitized builds are several times slower: deadlines are multiplied.
SLOW = float(os.environ.get("IRORI_SLOW") or os.environ.get("TIMEOUT_MULTIPLIER") or "1")
