"""`import qwen_tts` on machines where a package that only its 25 Hz model needs cannot be loaded.

qwen-tts imports torchaudio, onnxruntime and sox at the top of its 25 Hz code. Beside a CPU build of PyTorch the
registry's torchaudio does not load (OSError), and the `sox` package complains on stderr where the program is missing.
The 12 Hz model calls none of the three, so a placeholder stands in for exactly those that cannot load, only while
qwen_tts is imported; any use of one says what is missing.
"""

import contextlib
import importlib
import importlib.machinery
import io
import shutil
import sys
from collections.abc import Iterator
from types import ModuleType

_ONLY_FOR_25_HZ = {"torchaudio": ("torchaudio.compliance", "torchaudio.compliance.kaldi"), "onnxruntime": (), "sox": ()}


class Placeholder(ModuleType):
    """A module that could not be loaded. Importing it works, using it raises ImportError."""

    def __init__(self, name: str, cause: str) -> None:
        super().__init__(name)
        self.__path__: list[str] = []  # so that submodules may be imported from it
        self.__spec__ = importlib.machinery.ModuleSpec(name, None)  # transformers looks packages up by their spec
        self._cause = cause

    def __getattr__(self, attribute: str) -> object:
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        raise ImportError(
            f"{self.__name__}.{attribute} was used, but {self.__name__} cannot be loaded here ({self._cause}). "
            "The 12 Hz tokenizer never needs it; the 25 Hz one does: install a build that matches your PyTorch."
        )


def _why_not(name: str) -> str | None:
    """Why `import name` fails here, in one line; None where it works."""
    if name == "sox" and shutil.which("sox") is None:
        return "the program sox is not installed"
    try:
        importlib.import_module(name)
    except (ImportError, OSError) as error:
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return None


@contextlib.contextmanager
def placeholders() -> Iterator[list[str]]:
    """While inside, every package of the 25 Hz model that cannot load is a placeholder; yields their names."""
    missing: list[str] = []
    for name, submodules in _ONLY_FOR_25_HZ.items():
        cause = _why_not(name)
        if cause is None:
            continue
        missing.append(name)
        for module in [loaded for loaded in sys.modules if loaded == name or loaded.startswith(name + ".")]:
            del sys.modules[module]  # halves of a failed import
        for module in (name, *submodules):
            sys.modules[module] = Placeholder(module, cause)
            parent, _, child = module.rpartition(".")
            if parent:
                setattr(sys.modules[parent], child, sys.modules[module])
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # its 25 Hz code prints an advertisement for flash-attn
            yield missing
    finally:
        for module in [loaded for loaded, value in sys.modules.items() if isinstance(value, Placeholder)]:
            del sys.modules[module]
