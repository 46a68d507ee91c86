"""The bundled clips -> a run, with the bundled checkpoint: the main job, offline, in one line."""

import shlex
from collections.abc import Callable
from pathlib import Path

from pipeline.flow import tokenize
from pipeline.run.reader import Run

CLIPS = Path(__file__).parent / "demo_clips"
"""Seven clips spoken by espeak-ng (wav, flac, ogg, mp3, m4a; 8 to 48 kHz) and a FLAC that was cut off."""

NEXT = """
Next:
  voxmill show {out}
  voxmill show {out} --id en/frames.wav
  voxmill tokenize YOUR_FOLDER --out run --model FOLDER_OR_HUB_ID
The small checkpoint of the demo is for trials only: its codes mean nothing to Qwen3-TTS. The official checkpoint is the
default of `voxmill tokenize`."""


def run_demo(out: str, show: Callable[[Run], None]) -> None:
    """Tokenize and reconstruct the clips into `out`, show the result."""
    print(f"Tokenizing {CLIPS} with the demo checkpoint (one of the files is broken on purpose) ...", flush=True)
    show(tokenize(CLIPS, out, config=None, model="demo", device="cpu"))
    print(NEXT.format(out=shlex.quote(out)))
