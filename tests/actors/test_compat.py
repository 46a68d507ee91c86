"""`import qwen_tts` where torchaudio cannot load."""

import subprocess
import sys

import pytest

from actors.compat import Placeholder, placeholders

IMPORT = (
    "from actors.qwen import Qwen3TTSTokenizer; import sys; print(sorted(n for n in sys.modules if n == 'torchaudio'))"
)


@pytest.mark.slow
def test_importing_upstream_says_nothing() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout.strip() in {"[]", "['torchaudio']"}  # a placeholder does not stay


def test_a_placeholder_explains_itself_when_used() -> None:
    placeholder = Placeholder("torchaudio", "OSError: libc10_cuda.so")
    with pytest.raises(ImportError, match=r"torchaudio.*libc10_cuda.*25 Hz"):
        placeholder.load("a.wav")
    assert not hasattr(placeholder, "__wrapped__")


def test_only_what_cannot_load_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.compat._ONLY_FOR_25_HZ", {"json": (), "no_such_package": ("no_such_package.part",)})
    import json

    with placeholders() as missing:
        assert missing == ["no_such_package"]
        import no_such_package.part

        assert isinstance(no_such_package.part, Placeholder)
        assert sys.modules["json"] is json
    assert "no_such_package" not in sys.modules
