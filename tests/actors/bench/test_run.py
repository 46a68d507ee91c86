"""The benchmark: every variant of a small model is measured, compared and printed."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from actors.bench.audio import made_clips, read_clips
from actors.bench.limits import flops, product_rate, timed
from actors.bench.peak import peak_in_own_process
from actors.bench.run import equality, first_seconds, race, run_bench, table
from actors.bench.variants import CLIP_BY_CLIP, IN_LISTS, Variant, all_variants, in_lists
from pipeline.errors import InputError


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    rng = np.random.default_rng(0)
    for index, (seconds, rate) in enumerate([(0.5, 16_000), (1.3, 48_000), (0.2, 8_000)]):
        wave = 0.1 * rng.standard_normal((round(seconds * rate), 1 + index % 2))
        soundfile.write(folder / f"{index}.flac", wave, rate)
    return folder


@pytest.mark.slow
def test_every_variant_is_measured(small_model: Path, clips: Path, tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    command = ["-m", "actors.bench", "--model", str(small_model), "--device", "cpu", "--precision", "fp32"]
    options = ["--audio", str(clips), "--json", str(out), "--rounds", "1", "--clips", "2", "--no-peaks"]
    printed = subprocess.run([sys.executable, *command, *options], check=True, capture_output=True, text=True).stdout
    result = json.loads(out.read_text())
    assert result["encoded"]["clips"] == 2
    assert result["encoded"]["seconds"] == pytest.approx(1.8, abs=0.01)
    assert set(result["machine"]) == {"device", "threads", "torch", "cpu"}
    for part in ("encode", "decode"):
        rows = result["figures"][part]
        assert list(rows) == [CLIP_BY_CLIP, IN_LISTS, "voxmill, fp32"]
        for row in rows.values():
            assert len(row["seconds"]) == 1
            assert row["times_real"] > 0
            assert 0 < row["flops"] / row["product_flops"] < 1.5
    assert result["figures"]["encode"]["voxmill, fp32"]["equal"] >= 0.999
    assert result["figures"]["encode"][CLIP_BY_CLIP]["equal"] < 1  # its last frames: it pads at another place
    assert result["figures"]["decode"]["voxmill, fp32"]["decibels"] >= 90
    assert result["left_out"] == {}
    assert printed.strip() == table(result)
    assert table(result).count("voxmill, fp32") == 2


def test_peak_of_a_process_of_its_own(small_model: Path) -> None:
    codes = np.zeros((5, 16), np.int16)
    peak = peak_in_own_process(small_model, "decode", "voxmill, fp32", [codes])
    assert 100e6 < peak < 4e9


def test_a_folder_without_audio(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No audio under"):
        run_bench(audio=str(tmp_path), device="cpu")


def test_clips_are_resampled_to_mono(clips: Path) -> None:
    found = read_clips(clips, 9)
    assert [len(wave) for wave in found] == [12_000, 31_200, 4_800]
    assert all(wave.dtype == np.float32 and wave.ndim == 1 for wave in found)


def test_made_clips_are_the_same_each_time() -> None:
    first, second = made_clips(5), made_clips(5)
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert all(24_000 <= len(wave) <= 12 * 24_000 and wave.dtype == np.float32 for wave in first)


def test_equality_of_codes_and_of_waves() -> None:
    truth = np.zeros((4, 16), np.int16)
    found = truth.copy()
    found[0, :2] = 1
    assert equality("encode", [found[:1], found[1:]], [truth]) == {"equal": 62 / 64, "equal_first": 0.75}
    wave = np.ones(100, np.float32)
    assert equality("decode", [wave * 1.01], [wave])["decibels"] == pytest.approx(40, abs=0.01)


def test_the_first_seconds() -> None:
    codes = [np.zeros((frames, 16)) for frames in (100, 100, 100)]
    assert len(first_seconds(codes, 1)) == 1
    assert len(first_seconds(codes, 8.5)) == 2
    assert len(first_seconds(codes, 999)) == 3


def test_lists_of_a_size() -> None:
    sizes: list[int] = []
    call = in_lists(lambda items: sizes.append(len(items)) or items, 2)
    assert call([1, 2, 3, 4, 5]) == [1, 2, 3, 4, 5]  # type: ignore[list-item]
    assert sizes == [2, 2, 1]


def test_what_cannot_run_is_left_out_and_said() -> None:
    codes = np.zeros((4, 16), np.int16)

    def refuse(items: list[np.ndarray]) -> list[np.ndarray]:
        raise RuntimeError("no compiler found\nmore")

    def encode(items: list[np.ndarray]) -> list[np.ndarray]:
        torch.ones(8, 8) @ torch.ones(8, 8)
        return [codes]

    variants = [Variant(CLIP_BY_CLIP, "fp32", encode, encode), Variant("voxmill, fp32", "fp32", refuse, refuse)]
    left_out: dict[str, str] = {}
    wave = np.zeros(4 * 1920, np.float32)
    rows = race(variants, "encode", ([wave], [codes]), (torch.device("cpu"), 1), left_out)
    assert list(rows) == [CLIP_BY_CLIP]
    assert left_out == {"encode: voxmill, fp32": "RuntimeError: no compiler found"}
    assert "Left out: encode: voxmill, fp32: RuntimeError: no compiler found" in table(
        {"figures": {"encode": rows}, "left_out": left_out}
    )


def test_lists_that_would_not_fit_into_memory_are_left_out(small_model: Path) -> None:
    hours = 24_000 * 3600 * 1000
    variants, left_out = all_variants(small_model, torch.device("cpu"), [], hours)
    assert [one.name for one in variants] == [CLIP_BY_CLIP]
    assert "GiB are free" in left_out[IN_LISTS]


def test_limits() -> None:
    left = torch.ones(8, 16)
    assert flops(lambda: left @ left.T) == 2 * 8 * 16 * 8
    assert timed(torch.device("cpu"), lambda: None) < 1
    assert product_rate(torch.device("cpu"), torch.float32) > 1e8
