"""The machine and the processes of a benchmark, as reported by Linux."""

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
    """The machine and the software that were measured."""

    processor: str
    cores: int
    memory_gib: float
    system: str
    python: str
    mongod: str
    wrk: str
    packages: dict[str, str]


class Memory(NamedTuple):
    """The memory of processes, in MB (10^6 bytes).

    Attributes:
        anonymous: Their private memory (RssAnon).
        resident: All their resident memory, including mapped files and shared libraries (RSS).
    """

    anonymous: float
    resident: float


def machine() -> Machine:
    """Return a description of this machine and the installed software."""
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


def read_memory(pid: int) -> Memory:
    """Return the memory of a process and its descendants. `resident` counts shared pages once per process."""
    anonymous = resident = 0
    for each in [pid, *descendants(pid)]:
        status = Path(f"/proc/{each}/status").read_text(encoding="ascii", errors="replace")
        anonymous += _kilobytes(status, "RssAnon")
        resident += _kilobytes(status, "VmRSS")
    return Memory(anonymous * 1024 / 1e6, resident * 1024 / 1e6)


def descendants(pid: int) -> list[int]:
    """Return the ids of the child processes of a process, recursively."""
    children = [
        int(child)
        for thread in Path(f"/proc/{pid}/task").iterdir()
        for child in (thread / "children").read_text(encoding="ascii").split()
    ]
    return children + [each for child in children for each in descendants(child)]


def processor_seconds(pid: int) -> float:
    """Return the CPU time of a process."""
    # the second field is a name in parentheses, which may contain spaces
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _kilobytes(status: str, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB$", status, re.MULTILINE)
    return int(found[1]) if found else 0


def _said(*command: str, pattern: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(pattern, done.stdout + done.stderr)
    return found[1] if found else "unknown"
