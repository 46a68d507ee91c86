"""--ref-audio: one reference of the speaker, any format and rate -> DIR/ref.wav, mono, 24 kHz, PCM 16."""

import numpy as np

from pipeline.audio.decode import open_audio
from pipeline.audio.resample import resample
from pipeline.audio.wav import wave_header
from pipeline.errors import InputError, RecordingError
from pipeline.export.shard import Create
from pipeline.storage.opening import open_recording

FILE = "ref.wav"
MAX_S = 60.0
"""Longer ones are refused: trainers load the reference with every record, and seconds of it are enough."""


def write_reference(location: str, create: Create) -> None:
    """Create `FILE`. Raises InputError for what is no audio, and for more than `MAX_S`."""
    try:
        with open_recording(location) as file, open_audio(file, location, max_recording_s=MAX_S) as audio:
            wave = np.concatenate(list(resample(audio.blocks, audio.rate)))
    except RecordingError as error:
        raise InputError(f"--ref-audio {error}") from error
    pcm = np.rint(np.clip(wave, -1.0, 1.0) * 32767.0).astype("<i2")
    create(FILE, lambda file: file.write(wave_header(len(pcm)) + pcm.tobytes()))
