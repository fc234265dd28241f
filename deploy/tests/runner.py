"""Runs checks: functions named `check_…` of a suite's module, each with a sentence as its docstring."""

import importlib
import inspect
import os
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"


class Skipped(Exception):
    """The machine lacks something that the check needs."""


class Failed(Exception):
    """Something is not as it should be."""


@dataclass
class Context:
    """What checks are given."""

    product: "product.Product"
    #: Whether generated files are written instead of compared.
    update: bool


def ensure(condition: object, message: str) -> None:
    """Fails with the message unless the condition holds."""
    if not condition:
        raise Failed(message)


def compare(path: Path, text: str, update: bool) -> None:
    """A file is as generated; with `update`, it is written."""
    known = path.read_text() if path.is_file() else ""
    if known == text:
        return
    if update:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        print(f"      wrote {path.relative_to(ROOT)}")
        return
    import difflib

    lines = difflib.unified_diff(known.splitlines(), text.splitlines(), "as it is", "as made", lineterm="", n=2)
    shown = "\n".join(list(lines)[:60])
    raise Failed(f"{path.relative_to(ROOT)} is stale: run again with --update and look at the change\n{shown}")


def run(suites: list[str], update: bool, only: str) -> int:
    """Runs the suites; 0 when nothing failed."""
    import product

    binary = os.environ.get("QUIPU_BIN", str(Path.home() / ".cache/quipu/target/debug/quipu"))
    context = Context(product.Product(ROOT, Path(binary)), update)
    passed, failed, skipped = 0, 0, 0
    for suite in suites:
        module = importlib.import_module(f"{suite}_suite")
        checks = [(name, it) for name, it in vars(module).items() if inspect.isfunction(it) and name.startswith("check_") and only in name]
        for name, check in checks:
            begun = time.monotonic()
            try:
                check(context)
            except Skipped as reason:
                skipped += 1
                print(f"SKIP  {suite}: {check.__doc__.strip()} ({reason})")
                continue
            except Exception as error:
                failed += 1
                words = str(error) if isinstance(error, Failed) else traceback.format_exc()
                print(f"FAIL  {suite}: {check.__doc__.strip()} [{name}]\n" + "\n".join(f"      {line}" for line in words.splitlines()))
                continue
            passed += 1
            print(f"ok    {suite}: {check.__doc__.strip()} ({time.monotonic() - begun:.1f} s)")
            sys.stdout.flush()
    print(f"\n{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed or not passed else 0
