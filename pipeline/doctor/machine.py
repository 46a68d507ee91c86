"""Settings -> the findings about this machine, and what a run here would have."""

from dataclasses import dataclass
from pathlib import Path

import psutil

from pipeline.cluster.cgroup import memory_limit, usable_cores
from pipeline.cluster.resources import Resources, allot, local_cpus
from pipeline.doctor.cluster import check_ray
from pipeline.doctor.cpu import check_cores, check_features, check_threads
from pipeline.doctor.decoders import check_decoders
from pipeline.doctor.devices import check_device_memory, check_devices, check_half_precision, smi, torch_gpus
from pipeline.doctor.disk import check_disk
from pipeline.doctor.finding import Finding, change
from pipeline.doctor.memory import check_memory, check_open_files, check_shared_memory, shared_memory
from pipeline.doctor.model import check_model
from pipeline.doctor.versions import check_versions
from pipeline.errors import DeviceError
from pipeline.settings import Settings


@dataclass(frozen=True)
class Machine:
    """What was found."""

    findings: list[Finding]
    folder: Path | None  # of the model, if it is whole
    cluster: dict[str, float] | None  # Ray's resources, of the cluster or of a local Ray; None: no cluster answers
    resources: Resources | None  # what the pools get of them; None: they do not fit
    cores: float  # of this machine, that this process may use
    gpus: int  # of this machine


def examine(settings: Settings, clips: Path, out: str, hours: float | None) -> Machine:
    """Every check. `clips`: one of each format at least; `out`: where a run would be; `hours`: of audio in it."""
    import torch

    from actors.device import cpu_has_bf16

    gpus, cores, available, limit = torch_gpus(), usable_cores(), psutil.virtual_memory().available, memory_limit()
    local = {"CPU": float(local_cpus()), "GPU": float(len(gpus))}
    ray, cluster = check_ray(settings.ray_address, local)
    plan, resources = _plan(settings, cluster)
    model, folder = check_model(settings.model)
    findings = [
        check_devices(smi(), gpus, settings.device, torch.version.cuda),
        *check_device_memory(gpus),
        check_half_precision(gpus, settings.precision, cpu_has_bf16()),
        check_features(torch.backends.cpu.get_cpu_capability()),
        *([check_cores(cores)] if cluster == local else []),
        check_threads(cores),
        check_memory(available, limit, resources.readers if resources and cluster == local else 1),
        check_shared_memory(available, limit, shared_memory()),
        check_open_files(),
        *check_versions(),
        ray,
        *plan,
        model,
        *check_decoders(clips),
        *check_disk(out, hours, settings.reconstruct),
    ]
    return Machine(findings, folder, cluster, resources, cores, len(gpus))


def _plan(settings: Settings, cluster: dict[str, float] | None) -> tuple[list[Finding], Resources | None]:
    """What the pools get; a finding where they do not fit."""
    if cluster is None:
        return [], None
    try:
        return [], allot(settings, cluster, settings.stages)
    except DeviceError as error:
        return [change("pools", str(error), "pools that fit into what Ray has", "Change these settings.")], None
