#!/usr/bin/env python3
"""The checks of the chart: `deploy/tests/run.py helm`, with the same flags."""

import os
import sys
from pathlib import Path

SUITE = Path(__file__).resolve().parents[2] / "tests/run.py"
os.execv(sys.executable, [sys.executable, str(SUITE), "helm", *sys.argv[1:]])
