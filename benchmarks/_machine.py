"""Describe the machine of a measurement."""

import os
import platform
from pathlib import Path


def machine() -> str:
    """Processor, cores, memory, system, and its present load."""
    load = f"{os.getloadavg()[0]:.1f}"
    memory_gb = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    system = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    return f"{_processor()}, {os.cpu_count()} cores, {memory_gb:.0f} GB, {system}, load {load}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
