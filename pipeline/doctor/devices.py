"""What nvidia-smi and PyTorch see -> findings: devices, driver, device memory, half precision."""

import os
import shutil
import subprocess
from dataclasses import dataclass

from pipeline.doctor.finding import Finding, change, ok, warn

QUERY = "name,driver_version,memory.total,memory.free"
SMI_S = 20.0
"""Time-out of nvidia-smi, which hangs where a driver does."""
LEAST_FREE = 3 * 2**30
"""Bytes: fp32 weights of both halves (0.7 GiB), two CUDA contexts (about 0.5 GiB each), and tiles."""
TENSOR_CORES = (7, 0)
"""The compute capability from which on fp16 products are faster than fp32 ones (Volta)."""


@dataclass(frozen=True)
class Gpu:
    """A device as PyTorch sees it. Memory in bytes."""

    name: str
    free: int
    total: int
    capability: tuple[int, int]
    bf16: bool


@dataclass(frozen=True)
class Smi:
    """What nvidia-smi says: `devices` as (name, driver), or what went wrong."""

    devices: tuple[tuple[str, str], ...] = ()
    error: str | None = None


def smi() -> Smi:
    """Ask nvidia-smi; without one there is no NVIDIA driver, which is no error."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return Smi()
    command = [program, f"--query-gpu={QUERY}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SMI_S, check=False)
    except subprocess.TimeoutExpired:
        return Smi(error=f"no answer within {SMI_S:g} s")
    if done.returncode:
        return Smi(error=" ".join((done.stdout or done.stderr).split())[:200])
    rows = [[cell.strip() for cell in line.split(",")] for line in done.stdout.splitlines() if line.strip()]
    return Smi(tuple((row[0], row[1]) for row in rows))


def torch_gpus() -> list[Gpu]:
    """The devices that PyTorch can use."""
    import torch

    found = []
    for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        free, total = torch.cuda.mem_get_info(number)
        with torch.cuda.device(number):
            bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        name, capability = torch.cuda.get_device_name(number), torch.cuda.get_device_capability(number)
        found.append(Gpu(name, free, total, capability, bf16))
    return found


def check_devices(driver: Smi, gpus: list[Gpu], device: str, built_for: str | None) -> Finding:
    """`device`: the setting. `built_for`: the CUDA version of this PyTorch; None: it has no CUDA."""
    if gpus:
        names = ", ".join(dict.fromkeys(gpu.name for gpu in gpus))
        drivers = ", ".join(dict.fromkeys(version for _, version in driver.devices)) or "unknown"
        return ok("devices", f"{len(gpus)} x {names}, driver {drivers}, PyTorch for CUDA {built_for}")
    if driver.error:
        return change("devices", f"nvidia-smi: {driver.error}", "a driver that answers", "Repair or reload the driver.")
    if driver.devices:
        name, version = driver.devices[0]
        seen = f"{len(driver.devices)} x {name} (driver {version}), which PyTorch cannot use: {_why(built_for)}"
        return change("devices", seen, "PyTorch on the GPU", _MEND if built_for is None else _ALLOW)
    if device.startswith("cuda"):
        return change("devices", f"no GPU, and device={device}", "a GPU", "Use device=auto or cpu, or another machine.")
    return ok("devices", "no GPU: a run here uses the CPU")


_MEND = "Install the CUDA build of PyTorch: pip install --force-reinstall torch==VERSION from PyTorch's own index."
_ALLOW = "Update the driver, or unset CUDA_VISIBLE_DEVICES."


def _why(built_for: str | None) -> str:
    if built_for is None:
        return "its build has no CUDA"
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if hidden in ("", "-1"):
        return f"CUDA_VISIBLE_DEVICES is {hidden!r}"
    return f"it is built for CUDA {built_for}, which the driver may be too old for"


def check_device_memory(gpus: list[Gpu]) -> list[Finding]:
    """Free memory of each GPU; none without a GPU."""
    found = []
    for number, gpu in enumerate(gpus):
        name, seen = f"memory of cuda:{number}", f"{gpu.free / 2**30:.1f} of {gpu.total / 2**30:.1f} GiB free"
        other = "End the other process that holds it (nvidia-smi lists them)"
        if gpu.free < LEAST_FREE:
            found.append(change(name, seen, f"{LEAST_FREE / 2**30:g} GiB", f"{other}, or choose another GPU."))
        elif gpu.free < gpu.total / 2:
            found.append(warn(name, seen, "most of it: batches are sized by what is free", f"{other}."))
        else:
            found.append(ok(name, seen))
    return found


def check_half_precision(gpus: list[Gpu], precision: str, cpu_bf16: bool) -> Finding:
    """fp16 and bf16 of the devices; without a GPU, `cpu_bf16` says whether the CPU has bf16 products."""
    if not gpus:
        seen = f"CPU: bf16 {'yes' if cpu_bf16 else 'no'}, fp16 no; a run's default is fp32"
        if precision == "fp16" or (precision == "bf16" and not cpu_bf16):
            return change("half precision", f"{seen}; precision={precision}", "fp32", "Use --precision fp32.")
        return ok("half precision", seen)
    slow = [gpu.name for gpu in gpus if gpu.capability < TENSOR_CORES]
    if slow:
        seen = f"{slow[0]} (compute capability below {'.'.join(map(str, TENSOR_CORES))}) has no tensor cores"
        return warn("half precision", seen, "fp16 on tensor cores", "Compare --precision fp32 with `voxmill bench`.")
    if precision == "bf16" and not all(gpu.bf16 for gpu in gpus):
        return change("half precision", "precision=bf16, which this GPU lacks", "fp16", "Use --precision fp16.")
    return ok("half precision", f"fp16 yes, bf16 {'yes' if all(gpu.bf16 for gpu in gpus) else 'no'}")
