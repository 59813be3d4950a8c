"""Run all tests on a machine that has nothing but Python and pip: `python tests/run.py [pytest's arguments]`.

Installs what they need into the virtual environment of `examples/run.py`. Chromium is the one thing that pip cannot
bring: without it the browser's tests are left out, and the last line says so. `--checks` runs format, lint, floors and
types instead.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from examples.run import prepare  # noqa: E402

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHECKS = (
    ("ruff", "format", "--check", "."),
    ("ruff", "check", "."),
    ("lint-imports",),
    ("mypy",),
    ("pyright", "--pythonpath"),
)


def main() -> int:
    arguments = sys.argv[1:]
    python = prepare("--editable", ".[all]", "--group", "test", "--group", "lint", "--group", "types")
    if arguments == ["--checks"]:
        commands = [[python.parent / name, *rest, *([python] if name == "pyright" else [])] for name, *rest in CHECKS]
        results = [subprocess.run(command, cwd=ROOT, check=False) for command in commands]
        return max(result.returncode for result in results)
    browser = any(map(shutil.which, BROWSERS))
    command = [
        python,
        "-m",
        "pytest",
        *([] if browser else ["-m", "not browser"]),
        *(arguments or ["-n", "auto", "--dist", "worksteal"]),
    ]
    result = subprocess.run(command, cwd=ROOT, check=False)
    if not browser:
        print("Left out: the browser's tests, since there is no Chromium here (apt-get install chromium).")
    return result.returncode


if __name__ == "__main__":
    sys.exit(main())
