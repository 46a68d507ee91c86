"""The checks of what a run reads and writes: the model, the decoders, the place of the run, the cluster."""

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from actors.contract import OFFICIAL_MODEL, OFFICIAL_REVISION
from pipeline.cli.demo import CLIPS
from pipeline.doctor.cluster import check_ray
from pipeline.doctor.decoders import check_decoders, one_of_each
from pipeline.doctor.disk import check_disk, check_space, check_speed
from pipeline.doctor.model import check_model


def test_a_whole_model(small_model: Path) -> None:
    found, folder = check_model(str(small_model))
    assert (found.level, folder) == ("ok", small_model)
    assert check_model("full-size")[0].level == "ok"


def test_a_model_without_a_weight(small_model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(small_model, tmp_path / "model"))
    weights = load_file(folder / "model.safetensors")
    name = next(one for one in weights if one.startswith("decoder."))
    del weights[name]
    save_file(weights, folder / "model.safetensors")
    found, whole = check_model(str(folder))
    assert (found.level, whole) == ("change", None)
    assert f"{name} is missing" in found.seen


def test_a_model_of_another_config(small_model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(small_model, tmp_path / "model"))
    config = json.loads((folder / "config.json").read_text())
    config["encoder_config"]["pad_mode"] = "replicate"
    (folder / "config.json").write_text(json.dumps(config))
    assert "encoder_config.pad_mode is 'replicate'" in check_model(str(folder))[0].seen
    (folder / "config.json").unlink()
    assert "lacks config.json" in check_model(str(folder))[0].seen
    assert check_model(str(tmp_path / "nowhere"))[0].level == "change"


def test_a_hub_id_that_is_not_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    found, folder = check_model(OFFICIAL_MODEL)
    assert (found.level, folder) == ("warn", None)
    assert found.advice.startswith(f"hf download {OFFICIAL_MODEL} --revision {OFFICIAL_REVISION} config.json")


def test_a_file_is_no_place_for_a_run(tmp_path: Path) -> None:
    file = tmp_path / "codes.parquet"
    file.touch()
    found = check_disk(str(file), None, True)[-1]
    assert (found.check, found.level, found.seen) == ("disk speed", "change", f"{file} is a file; a run is a folder.")


def test_decoders(tmp_path: Path) -> None:
    found = check_decoders(CLIPS)
    assert [one.level for one in found] == ["ok"]
    assert all(name in found[0].seen for name in ("wav", "flac", "ogg", "mp3", "m4a"))
    for name, path in one_of_each(CLIPS).items():
        shutil.copy(path, tmp_path / f"clip{name}")
    (tmp_path / "clip.ogg").write_bytes(b"no audio at all")
    assert [(one.check, one.level) for one in check_decoders(tmp_path)] == [("decoder of .ogg", "change")]


def test_decoders_of_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyAV drops arguments from one version to the next."""

    def open_(*given: object, **named: object) -> None:
        raise TypeError("open() got an unexpected keyword argument")

    monkeypatch.setattr("av.open", open_)
    found = check_decoders(CLIPS)
    assert {one.level for one in found} == {"change"}
    assert "decoder of .mp3" in [one.check for one in found]
    assert "decoder of .wav" not in [one.check for one in found]


def test_a_disk(tmp_path: Path) -> None:
    place = tmp_path / "not" / "there" / "yet"
    assert [one.level for one in check_disk(str(place), None, True)] == ["ok", "ok"]
    assert list(tmp_path.iterdir()) == []
    found = check_space(str(place), 1e9, True)
    assert (found.level, "--no-reconstruct" in found.advice) == ("change", True)
    assert found.expected == "173,790,000.0 GB for 1,000,000,000 hours"
    assert check_space(str(place), 1.0, True).level == "ok"


def test_a_place_that_cannot_be_written() -> None:
    assert check_speed("/proc/1/nothing", 1000).level == "change"
    assert check_disk("nonsense://bucket/run", None, True)[0].level == "change"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(place)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no right to mount")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk(small_disk: Path) -> None:
    assert check_space(str(small_disk), None, False).level == "change"
    found = check_speed(str(small_disk))
    assert (found.level, "No space left" in found.seen) == ("change", True)
    assert list(small_disk.iterdir()) == []


@pytest.mark.parametrize("address", [None, ""])
def test_no_cluster_is_asked_without_an_address(address: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if address is not None:
        monkeypatch.setenv("RAY_ADDRESS", address)
    found, resources = check_ray(None, {"CPU": 8.0, "GPU": 1.0})
    assert (found.level, resources) == ("ok", {"CPU": 8.0, "GPU": 1.0})
    assert "8 CPUs, 1 GPU" in found.seen


@pytest.mark.parametrize(("name", "says"), [("x" * 100, "paths of its sockets"), ("y", "cannot be written")])
def test_the_folder_of_a_local_ray(name: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", f"/tmp/{name}")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # tests may run as root, who may write anywhere
    found, resources = check_ray(None, {"CPU": 8.0})
    assert (found.level, resources) == ("change", {"CPU": 8.0})
    assert says in found.seen
    assert "RAY_TMPDIR" in found.advice


@pytest.mark.slow
def test_a_cluster_that_answers(local_ray: None) -> None:
    import ray

    address = ray.get_runtime_context().gcs_address
    found, resources = check_ray(address, {})
    assert (found.level, (resources or {}).get("CPU")) == ("ok", 2.0)
    assert f"{address}: 1 node, 2 CPUs, 0 GPUs" in found.seen


@pytest.mark.slow
def test_an_address_without_an_answer() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        closed = f"127.0.0.1:{nobody.getsockname()[1]}"
    found, resources = check_ray(closed, {})
    assert (found.level, resources) == ("change", None)
    assert f"No Ray cluster answers at '{closed}'" in found.seen
    with socket.create_server(("127.0.0.1", 0)) as silent:
        start = time.monotonic()
        found, resources = check_ray(f"127.0.0.1:{silent.getsockname()[1]}", {}, answer_s=6.0)
        assert (found.level, resources) == ("change", None)
        assert "no cluster answered within 6 s" in found.seen
        assert time.monotonic() - start < 12
