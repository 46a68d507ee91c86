"""Bundled clips, one of each format -> whether this machine decodes them."""

from pathlib import Path

from pipeline.audio.suffixes import AUDIO_SUFFIXES
from pipeline.doctor.finding import Finding, change, ok
from pipeline.loading import load_audio
from pipeline.storage.translate import reason


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
        except Exception as error:  # of another version of av: anything
            advice = "Install an av that voxmill works with: pip install 'av>=17.1,<19'"
            failed.append(change(f"decoder of {suffix}", reason(error), "a decoded clip", advice))
    return failed or [ok("decoders", ", ".join(decoded))]
