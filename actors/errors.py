"""What the engine raises. The message says what was seen, what was expected, what to change.

Errors cross processes by pickling: no custom `__init__`, one finished message.
"""


class VoxmillError(Exception):
    """A mistake that the user can mend; the command line prints the message and exits with 2."""


class SettingsError(VoxmillError):
    """An unknown setting, or a value that it cannot have."""


class InputError(VoxmillError):
    """Inputs that cannot be planned: a missing path, no audio at all, two recordings of one id."""


class ModelError(VoxmillError):
    """A model that cannot be loaded: files missing, not the 12 Hz codec, the hub out of reach."""


class DeviceError(VoxmillError):
    """A device, or a precision on a device, that is not to be had."""


class RecordingError(VoxmillError):
    """One recording that cannot be tokenized. It becomes a row of `failures/`: the class name is its "error"."""


class UnsupportedAudio(RecordingError):
    """A rate, a channel count or an encoding outside what voxmill reads."""


class NonFiniteAudio(RecordingError):
    """NaN or infinity among the samples."""


class DeviceOutOfMemory(RecordingError):
    """Even a single tile does not fit on the device."""


class KillsItsActor(RecordingError):
    """The process that worked on it died, time and again."""


class BadCodes(RecordingError):
    """Codes of another shape or range than int16 [F, 16] in 0..codebook_size - 1."""
