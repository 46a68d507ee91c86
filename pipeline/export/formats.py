"""The table of what a run can be exported to. A new format is one file beside this and one line here."""

from pipeline.export import hf, lhotse, mds, megatron, ms_swift, npy, qwen3_tts, webdataset
from pipeline.export.shard import Format

FORMATS: dict[str, Format] = {
    "qwen3-tts": qwen3_tts.FORMAT,
    "ms-swift": ms_swift.FORMAT,
    "lhotse": lhotse.FORMAT,
    "webdataset": webdataset.FORMAT,
    "hf": hf.FORMAT,
    "npy": npy.FORMAT,
    "mds": mds.FORMAT,
    "megatron": megatron.FORMAT,
}
