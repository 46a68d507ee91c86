"""Every error that a user or their data can cause: the engine's own (actors.errors), and the pipeline's.

The message says what was seen, what was expected, what to change; `plural` and `listed` are for such texts. Errors
cross processes by pickling: no custom `__init__`, one finished message.
"""

from collections.abc import Sequence

from actors.errors import BadCodes as BadCodes
from actors.errors import DeviceError as DeviceError
from actors.errors import DeviceOutOfMemory as DeviceOutOfMemory
from actors.errors import InputError as InputError
from actors.errors import KillsItsActor as KillsItsActor
from actors.errors import ModelError as ModelError
from actors.errors import NonFiniteAudio as NonFiniteAudio
from actors.errors import RecordingError as RecordingError
from actors.errors import SettingsError as SettingsError
from actors.errors import UnsupportedAudio as UnsupportedAudio
from actors.errors import VoxmillError as VoxmillError


class OutputError(VoxmillError):
    """A run that cannot be written, that is damaged, or that belongs to other settings."""


class ClusterError(VoxmillError):
    """A Ray cluster that does not answer, or whose nodes would run other code or other packages than the driver."""


class LostActors(ClusterError):
    """GPUs went away in the middle, and what their actors had in hand keeps the others from work."""


class TooManyFailures(VoxmillError):
    """More recordings failed than `max_failures`, more than can be chance without a cause, or nearly all of a node."""


class UnreadableAudio(RecordingError):
    """The bytes cannot be fetched: no such file, permission, network."""


class NotAudio(RecordingError):
    """The bytes are there, but no decoder knows them."""


class EmptyAudio(RecordingError):
    """A recording with no samples."""


class TruncatedAudio(RecordingError):
    """The recording ends before its header says, or a decoder broke in the middle."""


class SegmentOutside(RecordingError):
    """`start_s` or `end_s` of a manifest lie outside the recording."""


class NoSuchTrack(RecordingError):
    """A container that has no audio track `input.track`."""


class NoSuchChannel(RecordingError):
    """A channel that is asked for, of a recording that has fewer."""


class TooLong(RecordingError):
    """Longer than `input.max_recording_s`."""


class Skipped(RecordingError):
    """Shorter than `input.min_s`, or longer than `input.max_s`: left out on purpose. A row of `skipped/`, not of
    `failures/`."""


class NoSpeech(Skipped):
    """`input.vad` finds no speech in it: left out, no failure."""


class OtherStretches(RecordingError):
    """Stretches of its speech are committed that are not found now: those that are would overlap them."""


class DuplicateId(RecordingError):
    """A second recording of the same id inside one container."""


class KillsItsReader(RecordingError):
    """The process that read the recording (or the container) died or fell silent repeatedly."""


class UnexpectedError(RecordingError):
    """An exception that no reader foresaw; the message has its type and text."""


class NotCommitted(RecordingError):
    """Read again and again, and still neither its codes nor a failure of it was committed."""


def plural(count: float, word: str) -> str:
    """ "1 recording", "2 recordings", "0.5 GPUs"."""
    return f"{count:,.12g} {word}{'' if count == 1 else 's'}"


def listed(names: Sequence[str], most: int, separator: str = ", ") -> str:
    """The first of `names`, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return separator.join(names[:most]) + more
