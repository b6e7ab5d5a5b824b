"""What this machine and its processes are like, as Linux tells it."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from tests.mongod import binary

_PACKAGES: Final = (
    "litestar", "msgspec", "uvicorn", "uvloop", "httptools", "odmantic", "motor", "pymongo", "lmdb", "PyJWT",
    "argon2-cffi", "structlog", "limits", "fastapi", "starlette", "beanie", "pydantic",
)  # fmt: skip
_TICKS: Final = os.sysconf("SC_CLK_TCK")


class Machine(msgspec.Struct):
    """What was measured on."""

    processor: str
    cores: int
    memory_gib: float
    system: str
    python: str
    mongod: str
    wrk: str
    packages: dict[str, str]


class Memory(NamedTuple):
    """What processes hold, in MB (10^6 bytes).

    Attributes:
        anonymous: What is theirs alone (RssAnon).
        resident: All that they have in memory, mapped files and shared libraries too (RSS).
    """

    anonymous: float
    resident: float


def machine() -> Machine:
    """Look at this machine and at what is installed."""
    model = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="ascii"), re.MULTILINE)
    return Machine(
        processor=model[1] if model else platform.machine(),
        cores=len(os.sched_getaffinity(0)),
        memory_gib=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        system=f"{platform.freedesktop_os_release().get('PRETTY_NAME', platform.system())}, Linux {platform.release()}",
        python=platform.python_version(),
        mongod=_said(str(binary()), "--version", pattern=r"db version v(\S+)"),
        wrk=_said("wrk", "-v", pattern=r"wrk \S*?([0-9][0-9.]*)"),
        packages={name: version(name) for name in _PACKAGES},
    )


def memory_of(pid: int) -> Memory:
    """Return what a process and its descendants hold. What two of them share is counted twice in `resident`."""
    anonymous = resident = 0
    for each in [pid, *descendants(pid)]:
        status = Path(f"/proc/{each}/status").read_text(encoding="ascii", errors="replace")
        anonymous += _kilobytes(status, "RssAnon")
        resident += _kilobytes(status, "VmRSS")
    return Memory(anonymous * 1024 / 1e6, resident * 1024 / 1e6)


def descendants(pid: int) -> list[int]:
    """Return the processes that a process has started, and those that they have started."""
    children = [
        int(child)
        for thread in Path(f"/proc/{pid}/task").iterdir()
        for child in (thread / "children").read_text(encoding="ascii").split()
    ]
    return children + [each for child in children for each in descendants(child)]


def processor_seconds(pid: int) -> float:
    """Return how long a process has been on a processor."""
    # the second field is a name in brackets, which may hold blanks
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _kilobytes(status: str, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB$", status, re.MULTILINE)
    return int(found[1]) if found else 0


def _said(*command: str, pattern: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(pattern, done.stdout + done.stderr)
    return found[1] if found else "unknown"
