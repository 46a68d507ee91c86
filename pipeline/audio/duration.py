"""A recording -> its length as its header tells, without decoding it: for plans, never for results."""

import os
from typing import BinaryIO

import av

from pipeline.audio.wav import read_header
from pipeline.errors import RecordingError


def header_seconds(file: BinaryIO) -> float | None:
    """Seconds; None where no header tells, or where it is damaged. Some formats only estimate theirs."""
    try:
        if not (size := file.seek(0, os.SEEK_END)):
            return None  # PyAV would print a traceback
        wav = read_header(file, size)
        if wav is not None and wav.kind:
            return wav.samples / wav.rate
        file.seek(0)
        with av.open(file, mode="r", metadata_errors="ignore", options={"protocol_whitelist": "none"}) as container:
            found = container.duration
    except (RecordingError, OSError, av.FFmpegError, UnicodeError):
        return None
    return found / av.time_base if found is not None and found > 0 else None
