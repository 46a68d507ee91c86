"""The first bytes of a stream -> the name of the container or compressed format that they begin; None for raw samples.

For sources that cannot seek, where samples without a header are a format too. Files are recognised by FFmpeg.
"""

from pipeline.audio.mpeg import CHAIN, chain, parse

HEAD_BYTES = 12
"""What the names at fixed places take, and a WAV's first header."""
MPEG_BYTES = 8192
"""Further bytes, where `may_be_mpeg`: they hold the next two frames of every bitrate."""
_MAGIC = {
    b"fLaC": "FLAC",
    b"OggS": "Ogg",
    b"ID3": "an ID3 tag (MP3)",
    b"FORM": "AIFF",
    b"RIFX": "a WAV of big-endian samples (RIFX)",
    b"riff": "Wave64",
    b"caff": "CAF",
    b".snd": "AU",
    b"wvpk": "WavPack",
    b"NIST_1A": "NIST SPHERE",
    b"#!AMR": "AMR",
    b"\x1a\x45\xdf\xa3": "Matroska or WebM",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11": "WMA (ASF)",
}


def container_of(head: bytes) -> str | None:
    """What `head` begins, in words: HEAD_BYTES, and MPEG_BYTES more where it `may_be_mpeg`. WAV counts as none."""
    for magic, name in _MAGIC.items():
        if head.startswith(magic):
            return name
    if head[:4] in (b"RIFF", b"RF64", b"BW64") and head[8:12] != b"WAVE":
        return "RIFF that is not WAVE"
    if head[4:8] == b"ftyp":
        return "MP4 or M4A"
    return "MPEG audio (MP3 or AAC)" if chain(head, 0, CHAIN)[0] == CHAIN else None


def may_be_mpeg(head: bytes) -> bool:
    """Whether `head` begins with an MPEG frame's header. Quiet raw samples may as well: only frames in a row tell."""
    return parse(head) is not None
