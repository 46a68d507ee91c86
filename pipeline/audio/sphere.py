"""The header of a NIST SPHERE file (.sph) -> what its samples are coded with, and how many bytes it promises."""

import re

from pipeline.audio.ends import fewer
from pipeline.errors import UnsupportedAudio

MAGIC = b"NIST_1A\n"
HEADER_BYTES = 1 << 16
"""Read at most: most headers have 1024 bytes."""


def refuse_compressed(start: bytes) -> None:
    """Raise UnsupportedAudio where the file that begins with `start` is a SPHERE file of compressed samples."""
    coding = _coding(_header(start)) if start.startswith(MAGIC) else ""
    if "," in coding:
        raise UnsupportedAudio(
            f"its SPHERE header says sample_coding {coding}: no decoder here knows these compressed samples (Shorten,"
            " as a rule); `sph2pipe -f wav IN.sph OUT.wav` unpacks them"
        )


def missing_end(start: bytes, size: int) -> str | None:
    """Why a SPHERE file of `size` bytes cannot be whole, in words. Of compressed samples, nothing is known."""
    head = _header(start)
    lines = head.split(b"\n", 2)
    if "," in _coding(head) or len(lines) < 2 or not lines[1].strip().isdigit():
        return None
    values = {name: int(value) for name, value in re.findall(rb"^(\w+) -(?:i|s\d+) (\d{1,15})\s*$", head, re.MULTILINE)}
    frame = values.get(b"sample_n_bytes", 0) * values.get(b"channel_count", 1)
    promised = int(lines[1]) + values.get(b"sample_count", 0) * frame
    return fewer(promised, size)


def _header(start: bytes) -> bytes:
    """Line 2 is the header's size in bytes; lines "name -type value" follow."""
    return start.partition(b"end_head")[0]


def _coding(head: bytes) -> str:
    """ "pcm", "ulaw", ..., with ",embedded-shorten-v2.00" where Shorten packed them; "" where nothing is said."""
    coding = re.search(rb"^sample_coding -s\d+ (\S+)", head, re.MULTILINE)
    return coding[1].decode("latin1") if coding else ""
