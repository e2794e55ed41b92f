"""A server process of its own on a free port of the loopback, and what it uses: memory, processor, disk.

What it uses is read from /proc, and is 0 where there is none.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
_TICK = os.sysconf("SC_CLK_TCK")


class ServerProcess:
    """Serves `path` from its first answer to `close`. `workers` as of `segidx serve`; its log goes to `log`."""

    def __init__(self, path: Path, log: Path, *, workers: int = 0, read_only: bool = False) -> None:
        command = [sys.executable, str(_ROOT / "server.py"), "--data", str(path), "--port", "0"]
        command += ["--workers", str(workers)] + ["--read-only"] * read_only
        with log.open("ab") as file:
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=file, text=True)
        assert self._process.stdout is not None
        announced = self._process.stdout.readline()
        if not announced:
            raise RuntimeError(f"the server ended with {self._process.wait()} before it served; {log} says why")
        self.address = announced.split()[-1]
        self.pid = self._process.pid

    def pids(self) -> list[int]:
        """Its processes: itself and, with workers, those it started."""
        children: list[int] = []
        with contextlib.suppress(OSError):
            text = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
            children = [int(word) for word in text.split()]
        return [self.pid, *children]

    def anonymous_bytes(self) -> int:
        """Resident memory that no file stands behind, all processes together."""
        return sum(_field(pid, "status", "RssAnon:") for pid in self.pids()) << 10

    def written_bytes(self) -> int:
        """What its processes gave to the file system, which LMDB syncs: whole pages, each as often as it is written.

        Not `write_bytes`, which counts what is made dirty in the page cache: where the file system keeps files in large
        folios (ext4 since Linux 6.16), a page of 4 KiB counts as up to a megabyte, and the disk is given 4 KiB.
        """
        return sum(_field(pid, "io", "wchar:") for pid in self.pids())

    def cpu_seconds(self) -> float:
        return sum(_cpu_ticks(pid) for pid in self.pids()) / _TICK

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Tell it to end, and wait until it has."""
        self._process.terminate()
        self._process.communicate()


def _field(pid: int, file: str, name: str) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1])
    return 0


def _cpu_ticks(pid: int) -> int:
    with contextlib.suppress(OSError):
        # The process's name, in parentheses, may hold spaces.
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return int(words[11]) + int(words[12])
    return 0
