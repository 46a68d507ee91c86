"""The bundled clips -> a run, with the bundled checkpoint: the main job, offline, in one line."""

import shlex
from collections.abc import Callable
from pathlib import Path

from pipeline.flow import tokenize
from pipeline.log_line import log_line
from pipeline.run.reader import Run

CLIPS = Path(__file__).parent / "demo_clips"
"""Seven clips spoken by espeak-ng (wav, flac, ogg, mp3, m4a; 8 to 48 kHz) and a FLAC that was cut off."""

BROKEN = "it/broken.flac"
NEXT = """
Next:
  voxmill show {out}
  voxmill show {out} --id en/frames.wav
  voxmill tokenize YOUR_FOLDER --out run --model FOLDER_OR_HUB_ID
The small checkpoint of the demo is for trials only: its codes mean nothing to Qwen3-TTS. The official checkpoint is the
default of `voxmill tokenize`."""


def run_demo(out: str, show: Callable[[Run], None]) -> list[str]:
    """Tokenize and reconstruct the clips into `out`, show the result. Returns the ids of whole clips that failed."""
    print(f"Tokenizing {CLIPS} with the demo checkpoint (one of the files is broken on purpose) ...", flush=True)
    run = tokenize(CLIPS, out, config=None, model="demo", device="cpu")
    show(run)
    failed = [id_ for id_ in run.failures()["id"].to_pylist() if id_ != BROKEN]
    if failed:
        log_line(f"clips that are whole failed, too: {', '.join(failed)}. `voxmill doctor` looks for the reason")
    print(NEXT.format(out=shlex.quote(out)))
    return failed
