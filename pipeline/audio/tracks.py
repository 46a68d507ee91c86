"""An opened container -> the audio track that is wanted, and its decoder. Tracks count from 1, like channels."""

from typing import cast

import av
from av.stream import Discard, Disposition

from pipeline.errors import NoSuchTrack, NotAudio, UnsupportedAudio

_BETTER = {"amrnb": "libopencore_amrnb", "amrwb": "libopencore_amrwb"}
"""The reference decoders: FFmpeg's own have no comfort noise, so they break where a phone sent silence (DTX)."""

_REFUSED = ("g726", "g726le")
"""FFmpeg decodes these, and makes noise of what libsndfile wrote as G.721 or G.723: the order of the bits differs."""


_NMS_ADPCM = ("amrnb", "8\0\0\0")
"""Codec and tag of a WAV that libsndfile writes as NMS ADPCM: FFmpeg takes it for AMR, and makes noise of it."""


def choose(container: av.container.InputContainer, number: int | None) -> av.AudioStream:
    """Audio track `number`; for None the one that the container marks as default, else the first.

    The others are switched off: an MP4's video is not even read then. Raises NotAudio where there is no audio track,
    NoSuchTrack with a list of those that are there.
    """
    tracks = container.streams.audio
    if not tracks:
        raise NotAudio(f"it is {container.format.long_name} without any audio track")
    if number is not None and number > len(tracks):
        raise NoSuchTrack(f"it has no audio track {number}, only {', '.join(map(_name, tracks))}")
    default = next((track for track in tracks if track.disposition & Disposition.default), tracks[0])
    chosen = default if number is None else tracks[number - 1]
    for stream in container.streams:
        if stream is not chosen:
            stream.discard = Discard.all
    return chosen


def _name(track: av.AudioStream) -> str:
    number = 1 + track.container.streams.audio.index(track)
    codec = track.codec_context.name if track.codec_context else "unknown codec"
    return f"{number} ({track.language or 'no language'}, {codec})"


def _tag(context: av.AudioCodecContext) -> str:
    try:
        return context.codec_tag
    except UnicodeDecodeError:  # PyAV takes it for ASCII; in a damaged header it is not
        return ""


def decoder(track: av.AudioStream) -> av.AudioCodecContext:
    """What decodes the packets of `track`, which FFmpeg has a decoder for. Raises UnsupportedAudio where that makes
    noise of them."""
    if track.codec_context.name in _REFUSED:
        raise UnsupportedAudio(
            "its samples are G.721, G.723 or G.726: writers pack them in two ways, and nothing tells"
        )
    if (track.codec_context.name, _tag(track.codec_context)) == _NMS_ADPCM:
        raise UnsupportedAudio("its samples are NMS ADPCM, which no decoder here knows")
    better = _BETTER.get(track.codec_context.name)
    return track.codec_context if better is None else cast(av.AudioCodecContext, av.CodecContext.create(better, "r"))
