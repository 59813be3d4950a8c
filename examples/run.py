"""Run the demo on a machine that has nothing but Python and pip: `python examples/run.py [starlette|fastapi|quart]`.

Makes a virtual environment beside the project (`.venv/<version>`), installs what the demo needs and starts it on the
embedded SQLite store. Every setting can still come from the environment.
"""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FRAMEWORKS = ("starlette", "fastapi", "quart")


def prepare(*requirements: str) -> Path:
    """The Python of a virtual environment for this version that has these requirements, which pip reads in `ROOT`."""
    if sys.version_info < (3, 10):
        sys.exit("asgi-auth needs Python 3.10 or newer")
    home = ROOT / ".venv" / f"{sys.version_info.major}.{sys.version_info.minor}"
    python = home / ("Scripts" if os.name == "nt" else "bin") / "python"
    pip = [str(python), "-m", "pip"]
    if not python.exists() or subprocess.run([*pip, "--version"], capture_output=True, check=False).returncode:
        print(f"Making a virtual environment in {home.relative_to(ROOT)} …", flush=True)
        try:
            venv.create(home, with_pip=True, clear=True)  # one whose making was interrupted has no pip
        except subprocess.CalledProcessError:
            sys.exit("Python could not make a virtual environment. On Debian and Ubuntu: apt-get install python3-venv")
    print("Installing what is missing …", flush=True)
    install = [*pip, "install", "--quiet", "--disable-pip-version-check"]
    for asked in (["--upgrade", "pip>=25.1"], [*requirements]):
        if subprocess.run([*install, *asked], check=False, cwd=ROOT).returncode:
            sys.exit("pip could not install what is needed; it says why above. It needs a package index to ask.")
    return python


def main() -> int:
    framework = sys.argv[1] if len(sys.argv) > 1 else FRAMEWORKS[0]
    if framework not in FRAMEWORKS:
        print(f"usage: python examples/run.py [{'|'.join(FRAMEWORKS)}]", file=sys.stderr)
        return 2
    python = prepare("--editable", ".[all]", "uvicorn[standard]")
    port = os.environ.get("PORT", "8000")
    print(
        f"\nOpen http://localhost:{port} and log in as alice / wonderland or bob / builder. Ctrl+C ends it.\n",
        flush=True,
    )
    command = [str(python), "-m", "uvicorn", f"examples.{framework}_app:app", "--port", port]
    try:
        return subprocess.run(command, cwd=ROOT, check=False).returncode
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main())
