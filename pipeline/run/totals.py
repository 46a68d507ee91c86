"""At the end of a run: what its parts hold."""

import numpy as np

from actors.contract import SAMPLE_RATE
from pipeline.run.keys import Keys
from pipeline.run.layout import CODES, FAILURES, SKIPPED


def count(keys: Keys, context_samples: int) -> dict[str, int | float]:
    """What the parts hold, and how much audio was encoded a second time as chunks' left context."""
    coded = keys.parts(CODES)
    recordings, frames, samples = (sum(one.sums[name] for one in coded) for name in ("recordings", "frames", "samples"))
    # the first chunks of a recording have less than all
    context = sum(int(np.minimum(one.begins, context_samples).sum()) for one in coded)
    return {
        "recordings": recordings,
        "chunks": sum(map(len, coded)),
        "failures": sum(map(len, keys.parts(FAILURES))),
        "skipped": sum(map(len, keys.parts(SKIPPED))),
        "frames": frames,
        "audio_s": round(samples / SAMPLE_RATE, 3),
        "context_s": round(context / SAMPLE_RATE, 3),
    }
