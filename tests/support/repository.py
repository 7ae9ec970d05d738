"""What the checks of infra/ read: the repository, its lock, and the tools beside Python."""

import re
import subprocess
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"


def locked_version(package: str) -> str:
    """Return the version of `package` in requirements.lock; fails the test if it is not there."""
    lock = (ROOT / "requirements.lock").read_text()
    match = re.search(rf"^{re.escape(package)}==([^ ;]+)", lock, re.MULTILINE)
    assert match, f"{package} is not in requirements.lock"
    return match[1]


def run_tool(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a tool of the environment these tests run in, with none of the caller's variables."""
    program = Path(sysconfig.get_path("scripts")) / name
    return subprocess.run(
        [program, *arguments], capture_output=True, text=True, timeout=60, env={}, check=False
    )


def example_settings() -> dict[str, str]:
    """Return every setting that .env.example names, the commented ones too, and its value."""
    text = (INFRA / ".env.example").read_text()
    return dict(re.findall(r"^(?:# )?([A-Z][A-Z0-9_]*)=(.*)$", text, re.MULTILINE))
