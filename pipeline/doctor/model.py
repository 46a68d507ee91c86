"""A model's name -> its folder, whole, or a finding that says what is missing. Downloads nothing."""

from pathlib import Path

from actors.checkpoint import FILES, find_model, weights_sha256
from actors.contract import OFFICIAL_MODEL, OFFICIAL_REVISION
from pipeline.doctor.finding import Finding, change, ok, warn
from pipeline.errors import ModelError

FULL_SIZE = "full-size"
"""Random weights of the official sizes, as `voxmill bench` names them: its speed, and codes that mean nothing."""


def check_model(model: str) -> tuple[Finding, Path | None]:
    """The finding, and the folder if it is whole: its files, config.json, every weight with its shape."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    if model == FULL_SIZE:
        return ok("model", f"{model}: random weights of the official sizes, for timing only"), None
    try:
        folder = find_model(model, fetch=False)
    except ModelError as error:
        if isinstance(error.__cause__, LocalEntryNotFoundError):
            seen = f"{model} is not in this machine's cache of the hub"
            return warn("model", seen, "a copy, or a run that may fetch it when it starts", fetch_command(model)), None
        return change("model", str(error), "a whole model folder", "Fetch or copy it again, or name another."), None
    try:
        _read_weights(folder)
    except ModelError as error:
        return change("model", str(error), "all weights of the network", "Fetch or copy it again."), None
    return ok("model", f"{model}: {folder}, whole; sha256 {weights_sha256(folder)[:12]}"), folder


def fetch_command(model: str) -> str:
    """The command that puts a hub id into the cache."""
    revision = f" --revision {OFFICIAL_REVISION}" if model == OFFICIAL_MODEL else ""
    return f"hf download {model}{revision} {' '.join(FILES)}"


def _read_weights(folder: Path) -> None:
    """Read every weight of both halves, as actors do, on the CPU. Raises ModelError for one that is missing."""
    from actors.codec import Codec

    for part in ("encode", "decode"):  # one at a time: half the memory
        Codec.load(str(folder), device="cpu", precision="fp32", accelerate="none", parts=part)
