"""The engine's errors. The message says what was seen, what was expected, what to change.

Errors cross processes by pickling: no custom `__init__`, one finished message.
"""


class VoxmillError(Exception):
    """A mistake in a command or in the data that the user can correct. The command line prints the message and exits
    with 2 (3 for `TooManyFailures`); a `RecordingError` becomes a row of `failures/` instead."""


class SettingsError(VoxmillError):
    """An unknown setting, or a value that it cannot have."""


class InputError(VoxmillError):
    """Inputs that cannot be planned: a missing path, no audio at all, two recordings of one id."""


class ModelError(VoxmillError):
    """A model that cannot be loaded: missing files, another codec, an unreachable hub."""


class DeviceError(VoxmillError):
    """A device that is not available, or does not support the precision."""


class RecordingError(VoxmillError):
    """One recording that cannot be tokenized: a row of `failures/` (a `Skipped`: of `skipped/`), with the class name as
    its "error"."""


class UnsupportedAudio(RecordingError):
    """A rate, a number of channels or an encoding that voxmill does not read; or an array whose dtype or shape the
    engine does not take."""


class NonFiniteAudio(RecordingError):
    """NaN or infinity among the samples, or samples so loud that the computation overflows."""


class DeviceOutOfMemory(RecordingError):
    """Even a single tile does not fit on the device."""


class KillsItsActor(RecordingError):
    """Processes that worked on this recording alone died or fell silent repeatedly."""


class BadCodes(RecordingError):
    """Codes of another shape or range than int16 [F, 16] in 0..codebook_size - 1."""
