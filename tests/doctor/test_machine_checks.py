"""Each check of a machine: what it says where all is well, and where something is wrong."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.cluster.cgroup import memory_limit, usable_cores
from pipeline.doctor.cpu import check_cores, check_features, check_threads
from pipeline.doctor.devices import Gpu, Smi, check_device_memory, check_devices, check_half_precision, smi
from pipeline.doctor.finding import must_change
from pipeline.doctor.memory import GIB, check_memory, check_open_files, check_shared_memory
from pipeline.doctor.versions import check_versions

H100 = Gpu("H100", 70 * GIB, 79 * GIB, (9, 0), True)
DRIVER = Smi((("H100", "550.1"),))


def group(root: Path, name: str, **files: str) -> Path:
    (root / name).mkdir(parents=True, exist_ok=True)
    for file, text in files.items():
        (root / name / file.replace("__", ".")).write_text(text)
    return root


def test_limits_of_control_groups(tmp_path: Path) -> None:
    membership = tmp_path / "membership"
    membership.write_text("0::/a/b\n")
    root = group(tmp_path / "v2", "a/b", cpu__max="50000 100000", memory__max="max")
    group(root, "a", cpu__max="max 100000", memory__max=str(3 * GIB))
    assert usable_cores(root, membership) == 0.5
    assert memory_limit(root, membership) == 3 * GIB
    membership.write_text("4:memory:/job\n1:cpu,cpuacct:/job\n")
    old = group(tmp_path / "v1", "cpu/job", cpu__cfs_quota_us="75000", cpu__cfs_period_us="100000")
    group(old, "memory/job", memory__limit_in_bytes=str(2**63 - 4096))
    assert usable_cores(old, membership) == 0.75
    assert memory_limit(old, membership) is None
    membership.write_text("0::/not/to/be/seen\n")  # in a container, where the group's own folder is the root
    assert memory_limit(group(tmp_path / "own", "", memory__max=str(GIB)), membership) == GIB
    assert usable_cores(tmp_path / "nothing", tmp_path / "nothing") == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("driver", "gpus", "device", "built_for", "level", "text"),
    [
        (DRIVER, [H100], "auto", "13.0", "ok", "1 x H100, driver 550.1, PyTorch for CUDA 13.0"),
        (Smi(), [], "auto", None, "ok", "no GPU"),
        (Smi(), [], "cuda", None, "change", "no GPU, and device=cuda"),
        (DRIVER, [], "auto", None, "change", "its build has no CUDA"),
        (DRIVER, [], "auto", "13.0", "change", "may be too old"),
        (Smi(error="no answer"), [], "auto", "13.0", "change", "no answer"),
    ],
)
def test_devices(driver: Smi, gpus: list[Gpu], device: str, built_for: str | None, level: str, text: str) -> None:
    found = check_devices(driver, gpus, device, built_for)
    assert (found.level, text in found.seen) == (level, True)
    assert bool(found.advice) == (level != "ok")


def test_hidden_devices_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "CUDA_VISIBLE_DEVICES is ''" in check_devices(DRIVER, [], "auto", "13.0").seen


def test_nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    for script, expected in [
        ("echo 'H100, 550.1, 80000, 70000'", Smi((("H100", "550.1"),))),
        ("echo 'NVIDIA-SMI has failed'; exit 9", Smi(error="NVIDIA-SMI has failed")),
        ("exec sleep 60", Smi(error="no answer within 0.2 s")),
    ]:
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setattr("pipeline.doctor.devices.SMI_S", 0.2 if "sleep" in script else 20.0)
        assert smi() == expected
    program.unlink()
    assert smi() == Smi()


def test_memory_of_devices() -> None:
    full, shared = Gpu("A", GIB, 24 * GIB, (8, 0), True), Gpu("A", 10 * GIB, 24 * GIB, (8, 0), True)
    assert [one.level for one in check_device_memory([H100, full, shared])] == ["ok", "change", "warn"]
    assert check_device_memory([]) == []


@pytest.mark.parametrize(
    ("gpus", "precision", "cpu_bf16", "level"),
    [
        ([], "auto", False, "ok"),
        ([], "fp16", True, "change"),
        ([], "bf16", False, "change"),
        ([], "bf16", True, "ok"),
        ([H100], "auto", False, "ok"),
        ([Gpu("P100", GIB, GIB, (6, 0), False)], "auto", False, "warn"),
        ([Gpu("T4", GIB, GIB, (7, 5), False)], "bf16", False, "change"),
        ([Gpu("T4", GIB, GIB, (7, 5), False)], "fp16", False, "ok"),
    ],
)
def test_half_precision(gpus: list[Gpu], precision: str, cpu_bf16: bool, level: str) -> None:
    assert check_half_precision(gpus, precision, cpu_bf16).level == level


def test_cpu_features(tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text("model name\t: Xeon\nflags\t\t: fpu avx2 avx512f amx_tile\n")
    found = check_features("AVX512", info)
    assert (found.level, found.seen) == (
        "ok",
        "Xeon: AVX2 yes, AVX-512 yes, bf16 no, AMX yes; PyTorch uses AVX512",
    )
    assert check_features("DEFAULT", info).level == "change"
    info.write_text("model name\t: Old\nflags\t\t: fpu avx\n")
    assert check_features("DEFAULT", info).level == "warn"
    info.write_text("processor\t: 0\nFeatures\t: fp asimd sve2 bf16 i8mm\n")  # on Arm
    found = check_features("SVE256", info)
    assert (found.level, "AVX" in found.seen) == ("ok", False)
    assert found.seen.endswith("; PyTorch uses SVE256")


def test_limits_that_this_user_may_not_read_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, membership = group(tmp_path, "", memory__max="1000", cpu__max="50000 100000"), tmp_path / "membership"
    membership.write_text("0::/\n")
    assert (memory_limit(root, membership), usable_cores(root, membership)) == (1000, 0.5)

    def refuse(path: Path) -> str:
        raise PermissionError(path)

    monkeypatch.setattr(Path, "read_text", refuse)
    assert memory_limit(root, membership) is None
    assert usable_cores(root, membership) == len(os.sched_getaffinity(0))


def test_cores() -> None:
    assert check_cores(2.0).level == "ok"
    assert check_cores(1.5).level == "warn"


@pytest.mark.parametrize(("omp", "level"), [("", "ok"), ("2", "ok"), ("2,1", "ok"), ("9", "warn"), ("x", "change")])
def test_omp_threads(omp: str, level: str) -> None:
    assert check_threads(2.0, omp).level == level


def test_memory() -> None:
    assert check_memory(64 * GIB, None, 8).level == "ok"
    few = check_memory(64 * GIB, 3 * GIB, 8)
    assert (few.level, few.advice) == ("change", "--set input.readers=3")
    assert check_memory(GIB, None, 1).level == "change"
    assert check_memory(None, None, 1).level == "ok"


def test_shared_memory() -> None:
    assert check_shared_memory(16 * GIB, None, 8 * GIB).level == "ok"
    assert check_shared_memory(512 * GIB, None, 64 * GIB).level == "ok"  # Ray's store is as large as it can be there
    assert check_shared_memory(512 * GIB, None, 8 * GIB).level == "change"
    assert check_shared_memory(512 * GIB, 16 * GIB, 8 * GIB).level == "ok"  # of a container Ray takes its limit
    found = check_shared_memory(16 * GIB, None, 64 * 2**20)  # Docker's default
    assert (found.level, "--shm-size=5.3g" in found.advice) == ("change", True)
    assert check_shared_memory(16 * GIB, None, None).level == "ok"


def test_open_files() -> None:
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (256, {hard})); "
        "from pipeline.doctor.memory import check_open_files; print(check_open_files().level)"
    )
    for hard, level in [(256, "change"), (8192, "ok")]:  # Ray raises its own limit as far as it may
        done = subprocess.run(
            [sys.executable, "-c", code.format(hard=hard)], capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == level
    assert check_open_files().level == "ok"


def fake(folder: Path, name: str, version: str, *lines: str) -> None:
    place = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    place.mkdir(parents=True)
    head = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    (place / "METADATA").write_text(head + "".join(f"{line}\n" for line in lines))


def test_versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = check_versions()
    assert not must_change(found), found
    monkeypatch.syspath_prepend(str(tmp_path))
    needs = ["vx-fake-ray<3,>=2", "vx-fake-none", "vx-fake-test>=9; extra == 'test'", "pyarrow>=1"]
    fake(tmp_path, "vx-fake-app", "1.0", "Requires-Python: >=3.11", *(f"Requires-Dist: {one}" for one in needs))
    fake(tmp_path, "vx-fake-ray", "3.1+cu12")
    found = check_versions("vx-fake-app")
    assert [(one.check, one.level, one.seen) for one in found] == [
        ("vx-fake-ray", "change", "3.1+cu12"),
        ("vx-fake-none", "change", "not installed"),
    ]
    assert found[0].expected == "<3,>=2"
    fake(tmp_path, "vx-fake-old", "1.0", "Requires-Python: <3")
    assert [one.check for one in check_versions("vx-fake-old")] == ["Python"]
    assert check_versions("vx-fake-absent")[0].level == "warn"
