"""How much of the processor others used while figures were taken. Without that, a busy machine passes for a slow peer:
engines that use every core lose most by it, so that the ratios come out too good."""

from __future__ import annotations

import os

try:
    import psutil
except ImportError:  # an optional package; the share is then not known
    psutil = None

LIMIT = 0.05  # above this share, figures are not fit to be quoted


class Contention:
    """Watches from its making on. Processes that this one starts count as its own."""

    def __init__(self) -> None:
        self._busy, self._total = _machine()
        self._own = _own()

    def share(self) -> float | None:
        """The share of all cores' time, 0 to 1, that other processes took since; None where psutil is missing."""
        busy, total = _machine()
        passed = total - self._total
        if psutil is None or passed <= 0:
            return None
        return min(1.0, max(0.0, (busy - self._busy - (_own() - self._own)) / passed))


def _machine() -> tuple[float, float]:
    """(busy, total) seconds of all cores since the machine started."""
    if psutil is None:
        return 0.0, 0.0
    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0)
    # Linux counts a guest's time in user and nice already.
    total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    return total - idle, total


def _own() -> float:
    """Seconds of processor time of this process and those it started, ended ones included."""
    if psutil is None:
        return 0.0
    spent = sum(os.times()[:4])
    for child in psutil.Process().children(recursive=True):
        try:
            times = child.cpu_times()
        except psutil.NoSuchProcess:
            continue
        spent += times.user + times.system
    return spent
