"""Rows like those of the pools, for tests of later stages."""

from typing import Any

import numpy as np
import pyarrow as pa

from actors.contract import FRAME_SAMPLES, SAMPLE_RATE, frame_count
from actors.pools.arrow import codes_array, waves_array
from pipeline.schema import CODES_SCHEMA, FINGERPRINT_SCHEMA
from pipeline.settings import Settings


def run_record(**more: Any) -> dict[str, Any]:
    """run.json of a complete run; `more` overrides or adds keys."""
    attempt = {"started": "2026-01-01T00:00:00+00:00", "wall_s": 1.0, "audio_s": 1.0, "times_real_time": 1.0}
    return {
        "inputs": ["corpus/"],
        "model": {"id": "demo", "revision": None, "sha256": "0" * 64},
        "attention": "full",
        "precision": "fp32",
        "device": "cpu",
        "resampler": "soxr HQ",
        "chunk": {"samples": 2 * FRAME_SAMPLES, "context_samples": 0},
        "settings": Settings().model_dump(mode="json"),
        "state": "complete",
        "attempts": [attempt],
        **more,
    }


def tone(seconds: float, seed: int = 0) -> np.ndarray:
    """Noise whose level moves several times a second, float32 [seconds * 24000]."""
    random = np.random.default_rng(seed)
    samples = round(seconds * SAMPLE_RATE)
    knots = np.arange(0, samples + SAMPLE_RATE // 5, SAMPLE_RATE // 5)
    level = np.interp(np.arange(samples), knots, random.random(len(knots)))
    return (0.3 * level * random.standard_normal(samples)).astype(np.float32)


def codes_of(frames: int, seed: int = 0) -> np.ndarray:
    """int16 [frames, 16] in 0..255."""
    return np.random.default_rng(seed).integers(0, 256, (frames, 16)).astype(np.int16)


def coded_row(id_: str, samples: int, chunk: int = 0, chunks: int = 1, first_frame: int = 0, **more: Any) -> pa.Table:
    """One row as `write_parts` takes it; `more` overrides or adds columns."""
    values = {
        "id": id_,
        "source": f"/nowhere/{id_}.wav",
        "source_size": 1000,
        "source_version": "2026-01-01T00:00:00Z",
        "start_s": None,
        "end_s": None,
        "channel": None,
        "stretches": None,
        "chunk": chunk,
        "chunks": chunks,
        "first_frame": first_frame,
        "num_frames": frame_count(samples),
        "num_samples": samples,
        "duration_s": samples / SAMPLE_RATE,
        "source_rate": 16000,
        "source_channels": 1,
    }
    columns = {name: pa.array([value], CODES_SCHEMA.field(name).type) for name, value in values.items()}
    columns["codes"] = codes_array([codes_of(frame_count(samples), seed=chunk)])
    for name in ("stage", "error", "message"):
        columns[name] = pa.array([None], pa.string())
    for name, value in more.items():
        columns[name] = value if isinstance(value, pa.Array) else pa.array([value])
    return pa.table(columns)


def failed_row(id_: str, error: str = "NotAudio") -> pa.Table:
    """One row of a recording that failed."""
    row = coded_row(id_, FRAME_SAMPLES)
    texts = {"stage": "read", "error": error, "message": f"{id_} is broken"}
    for name in row.column_names:
        if name not in {"id", *FINGERPRINT_SCHEMA.names}:
            value = pa.array([texts.get(name)], row.schema.field(name).type)
            row = row.set_column(row.schema.get_field_index(name), name, value)
    return row


def wave_row(id_: str, pcm: np.ndarray | None, chunk: int = 0, chunks: int = 1) -> pa.Table:
    """One row as `write_waves` takes it."""
    samples, first_frame = 0 if pcm is None else len(pcm), 2 * chunk
    return coded_row(id_, samples, chunk, chunks, first_frame, wave=waves_array([pcm]))
