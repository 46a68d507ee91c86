"""Bundled clips, one of each format -> whether this machine decodes them."""

from pathlib import Path

from pipeline.audio.suffixes import AUDIO_SUFFIXES
from pipeline.doctor.finding import Finding, change, ok
from pipeline.errors import RecordingError
from pipeline.loading import load_audio


def one_of_each(clips: Path, broken: str = "broken") -> dict[str, Path]:
    """Suffix -> a clip below `clips`, but for those whose name says that they are `broken` on purpose."""
    found: dict[str, Path] = {}
    for path in sorted(clips.rglob("*")):
        if path.suffix in AUDIO_SUFFIXES and path.stem != broken:
            found.setdefault(path.suffix, path)
    return found


def check_decoders(clips: Path) -> list[Finding]:
    """A finding for each format that is not decoded, or one that all are."""
    decoded, failed = [], []
    for suffix, path in one_of_each(clips).items():
        try:
            decoded.append(f"{suffix[1:]} ({len(load_audio(path)) / 24_000:.1f} s)")
        except RecordingError as error:
            advice = "Install av again: pip install --force-reinstall av"
            failed.append(change(f"decoder of {suffix}", str(error), "a decoded clip", advice))
    return failed or [ok("decoders", ", ".join(decoded))]
