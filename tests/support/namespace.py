"""A namespace with its own network and /tmp, for programs whose ports are fixed; for root."""

import subprocess
import sys

from tests.support.repository import ROOT

ADDRESS = "192.0.2.2"  # as another host sees it
VOLUMES = "/mnt"
# The default route only lets a program find its own address; the repository may lie in /tmp.
SET_UP = f"""
mount -t tmpfs tmpfs {VOLUMES}
mkdir -p {VOLUMES}/tmp {VOLUMES}/home "{VOLUMES}/$1"
mount --rbind "$1" "{VOLUMES}/$1"
mount --rbind {VOLUMES}/tmp /tmp
ip link set lo up
ip address add {ADDRESS}/24 dev lo
ip route add default dev lo src {ADDRESS}
root=$1; shift
cd "$root"
exec "$@"
"""
UNSHARE = ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]


def run_in_namespace(module: str, text: str, timeout_s: float) -> subprocess.CompletedProcess[str]:
    """Run a Python module with `text` as its input; all that it starts ends with it."""
    command = [*UNSHARE, "sh", "-euc", SET_UP, "sh", str(ROOT), sys.executable, "-m", module]
    return subprocess.run(
        command,
        input=text,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        cwd=ROOT,
        check=False,
    )
