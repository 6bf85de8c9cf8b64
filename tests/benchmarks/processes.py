"""What Linux says of processes: their CPU time and memory (proc(5))."""

import os
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_of_tree(pid: int) -> float:
    """Seconds of CPU time of a process and all below it, those that have ended included."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        # It has ended: before its file was opened, or before the file was read.
        return 0.0
    return sum(map(int, fields[11:15])) / _TICKS + sum(cpu_of_tree(int(child)) for child in children)


def memory(pid: int) -> int:
    """Bytes of a process that are in memory now, shared ones included."""
    return _status(pid, "VmRSS")


def peak_memory(pid: int) -> int:
    """The most that `memory` was since `forget_peak`."""
    return _status(pid, "VmHWM")


def forget_peak(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def threads(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/task"))


def _status(pid: int, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))
