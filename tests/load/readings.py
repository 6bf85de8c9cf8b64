"""What a program that runs for long must not gather: memory, threads, open files and sockets (proc(5))."""

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Reading:
    """Of several processes together. Memory is resident, in MB."""

    memory: float = 0.0
    threads: int = 0
    files: int = 0
    sockets: int = 0

    @property
    def opened(self) -> int:
        return self.files + self.sockets

    def __str__(self) -> str:
        return f"{self.memory:.1f} MB, {self.threads} threads, {self.files} files, {self.sockets} sockets"


def read(processes: Iterable[int]) -> Reading:
    """What these processes have now."""
    memory, threads, opened = 0.0, 0, list[str]()
    for pid in processes:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        status = {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
        memory += int(status["VmRSS"].removesuffix(" kB")) / 1024
        threads += int(status["Threads"])
        opened += _opened(pid)
    sockets = sum(name.startswith("socket:") for name in opened)
    return Reading(memory, threads, len(opened) - sockets, sockets)


def _opened(pid: int) -> list[str]:
    names = []
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            names.append(os.readlink(descriptor))
    return names
