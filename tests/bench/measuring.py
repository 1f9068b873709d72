"""What processes of this machine use: CPU time and memory, read from /proc."""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> list[str]:
    """Fields of /proc/<pid>/stat from the state on: the name before may hold anything."""
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()


def cpu_seconds(pid: int) -> float:
    """CPU time a process has used, in user and kernel mode."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / _TICKS


def user_seconds(pid: int) -> float:
    """CPU time a process has used in user mode."""
    return int(_stat(pid)[11]) / _TICKS


def family_cpu_seconds(pid: int) -> float:
    """CPU time of a process and of its children, those that have ended included."""
    fields = _stat(pid)
    total = sum(int(field) for field in fields[11:15]) / _TICKS
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        try:
            total += cpu_seconds(int(child))
        except FileNotFoundError:
            continue
    return total


def machine_busy_seconds() -> tuple[float, float]:
    """CPU time that anything on this machine used since it started, and time stolen from it."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    user, nice, system, _idle, _iowait, irq, softirq, steal = fields[:8]
    return (user + nice + system + irq + softirq) / _TICKS, steal / _TICKS


def rss_mb(pid: int) -> float:
    """Resident memory of a process now."""
    return _status_mb(pid, "VmRSS:")


def peak_rss_mb(pid: int) -> float:
    """Largest resident size a process ever had."""
    return _status_mb(pid, "VmHWM:")


def _status_mb(pid: int, name: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name):
            return round(int(line.split()[1]) / 1024, 1)
    raise SystemExit(f"no {name} in /proc/{pid}/status")


def cpu_model() -> str:
    """How the processor calls itself."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown"


@dataclass
class Usage:
    """CPU time of the parts of a measurement, from `Usage(...)` to `used()`.

    Args:
        relays: Processes of relays.
        postgres: The postmaster.
        nats: The nats-servers.
    """

    relays: Sequence[int]
    postgres: int
    nats: Sequence[int]

    def __post_init__(self) -> None:
        self._begun = self._now()

    def _now(self) -> dict[str, float]:
        busy, steal = machine_busy_seconds()
        return {
            "relay": sum(cpu_seconds(pid) for pid in self.relays),
            "relay_user": sum(user_seconds(pid) for pid in self.relays),
            "postgres": family_cpu_seconds(self.postgres),
            "nats": sum(cpu_seconds(pid) for pid in self.nats),
            "bench": cpu_seconds(os.getpid()),
            "machine": busy,
            "stolen": steal,
        }

    def used(self) -> dict[str, float]:
        """Seconds by part; `foreign` is what none of them used."""
        now = self._now()
        used = {part: now[part] - self._begun[part] for part in now}
        known = sum(used[part] for part in ("relay", "postgres", "nats", "bench"))
        return {part: round(value, 2) for part, value in used.items()} | {
            "foreign": round(max(0.0, used["machine"] - known), 2)
        }


def median(values: Sequence[float], digits: int = 0) -> float:
    """The median, rounded."""
    return round(statistics.median(values), digits) if digits else round(statistics.median(values))


def spread(values: Sequence[float], digits: int = 0) -> dict[str, float]:
    """Median, smallest and largest."""
    return {
        "median": median(values, digits),
        "min": round(min(values), digits),
        "max": round(max(values), digits),
    }


def slope_per_minute(points: Sequence[tuple[float, float]]) -> float:
    """Slope of the straight line that fits points of (seconds, value) best."""
    if len(points) < 3:
        return 0.0
    return statistics.linear_regression([x for x, _ in points], [y for _, y in points]).slope * 60
