"""Every error that decoding may raise says what to change."""

import importlib
import pkgutil

import pipeline.audio
from pipeline.audio.decode import _ADVICE
from pipeline.errors import RecordingError, Skipped


def test_every_error_of_decoding_has_advice() -> None:
    names = [one.name for one in pkgutil.iter_modules(pipeline.audio.__path__, "pipeline.audio.")]
    modules = map(importlib.import_module, names)
    kinds = {kind for module in modules for kind in vars(module).values() if isinstance(kind, type)}
    raised = {kind for kind in kinds if issubclass(kind, RecordingError) and not issubclass(kind, Skipped)}
    assert raised - {RecordingError} == _ADVICE.keys()
