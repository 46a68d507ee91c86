"""Every error that a user or their data can cause. The message says what was seen, what was expected, what to change.

They cross processes by pickling: no custom `__init__`, one finished message.
"""


class VoxmillError(Exception):
    """A mistake that the user can mend; the command line prints the message and exits with 2."""


class SettingsError(VoxmillError):
    """An unknown setting, or a value that it cannot have."""


class InputError(VoxmillError):
    """Inputs that cannot be planned: a missing path, no audio at all, two recordings of one id."""


class OutputError(VoxmillError):
    """A run that cannot be written, that is damaged, or that belongs to other settings."""


class ModelError(VoxmillError):
    """A model that cannot be loaded: files missing, not the 12 Hz codec, the hub out of reach."""


class DeviceError(VoxmillError):
    """A device, or a precision on a device, that is not to be had."""


class ClusterError(VoxmillError):
    """A Ray cluster that does not answer, or whose nodes would run other code or other packages than the driver."""


class RecordingError(VoxmillError):
    """One recording that cannot be tokenized. It becomes a row of `failures/`: the class name is its "error"."""


class UnreadableAudio(RecordingError):
    """The bytes cannot be fetched: no such file, permission, network."""


class NotAudio(RecordingError):
    """The bytes are there, but no decoder knows them."""


class EmptyAudio(RecordingError):
    """A recording with no samples."""


class TruncatedAudio(RecordingError):
    """The recording ends before its header says, or a decoder broke in the middle."""


class NonFiniteAudio(RecordingError):
    """NaN or infinity among the samples."""


class UnsupportedAudio(RecordingError):
    """A rate, a channel count or an encoding outside what voxmill reads."""


class SegmentOutside(RecordingError):
    """`start_s` or `end_s` of a manifest lie outside the recording."""


class TooLong(RecordingError):
    """Longer than `input.max_recording_s`."""


class DuplicateId(RecordingError):
    """A second recording of the same id inside one container."""


class DeviceOutOfMemory(RecordingError):
    """Even a single tile does not fit on the device."""


class KillsItsActor(RecordingError):
    """The process that worked on it died, time and again."""


class BadCodes(RecordingError):
    """Codes of another shape or range than int16 [F, 16] in 0..codebook_size - 1."""
