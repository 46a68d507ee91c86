"""The CPU's features, the cores that this process may use, its thread settings -> findings."""

import math
import os
import platform
from pathlib import Path

from pipeline.doctor.finding import Finding, change, ok, warn

FEATURES = {"AVX2": "avx2", "AVX-512": "avx512f", "bf16": "avx512_bf16", "AMX": "amx_tile"}
"""What PyTorch's CPU kernels use on x86, by the flag in /proc/cpuinfo. Elsewhere nothing has these flags."""
CPUINFO = Path("/proc/cpuinfo")


def check_features(capability: str, cpuinfo: Path = CPUINFO) -> Finding:
    """`capability`: `torch.backends.cpu.get_cpu_capability()`, the kernels that PyTorch chose."""
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    values = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags, name = values.get("flags", "").split(), values.get("model name", platform.processor() or "a CPU")
    there = [f"{title} {'yes' if flag in flags else 'no'}" for title, flag in FEATURES.items()] if flags else []
    seen = f"{': '.join([name, ', '.join(there)] if there else [name])}; PyTorch uses {capability}"
    if flags and "avx2" not in flags:
        return warn("CPU features", seen, "AVX2", "The codec's CPU pools are slow here: use a GPU or a newer CPU.")
    if "avx2" in flags and capability in ("DEFAULT", "NO AVX"):
        return change("CPU features", seen, "AVX2 or AVX512", "Unset ATEN_CPU_CAPABILITY.")
    return ok("CPU features", seen)


def check_cores(cores: float) -> Finding:
    """`cores`: that this process may use, by its affinity and its control groups."""
    seen = f"{cores:g} usable of {os.cpu_count()}"
    if cores >= 2:
        return ok("cores", seen)
    expected = "2 or more: on less, readers and the codec take turns"
    return warn("cores", seen, expected, "Raise the limit of the control group or the affinity, if one is set.")


def check_threads(cores: float, omp: str | None = None) -> Finding:
    """OMP_NUM_THREADS against `cores`. CPU pools set their threads themselves; other processes follow the variable."""
    omp = os.environ.get("OMP_NUM_THREADS") if omp is None else omp
    if not omp:
        return ok("OMP_NUM_THREADS", "not set; the pools set their own threads")
    number = omp.split(",")[0]
    if not number.isdecimal() or not int(number):
        return change("OMP_NUM_THREADS", repr(omp), "a number above 0", "Unset it.")
    if int(number) > math.ceil(cores):
        return warn("OMP_NUM_THREADS", omp, f"at most {math.ceil(cores)}, the usable cores", "Lower it, or unset it.")
    return ok("OMP_NUM_THREADS", f"{omp}; the pools set their own threads")
