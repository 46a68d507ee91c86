"""A model name (a folder, a hub id, "demo") -> its checked local folder; the sha256 of its weights. No torch."""

import functools
import hashlib
import json
import os
from pathlib import Path

from safetensors import SafetensorError, safe_open

from actors.config import STEPS
from actors.contract import (
    CODEBOOK_SIZE,
    FRAME_SAMPLES,
    NUM_CODEBOOKS,
    OFFICIAL_MODEL,
    OFFICIAL_REVISION,
    SAMPLE_RATE,
)
from actors.errors import ModelError
from actors.read_config import read_config

MODEL_TYPE = "qwen3_tts_tokenizer_12hz"
FILES = ("config.json", "preprocessor_config.json", "model.safetensors")
DEMO_FOLDER = Path(__file__).parent / "demo_checkpoint"
FULL_SIZE_FOLDER = Path(__file__).parent / "full_size_config"


def find_model(model: str, fetch: bool = True) -> Path:
    """The local folder of `model`: "demo" (bundled), a folder, or a hub id, fetched at the pinned revision.

    `fetch` False: of a hub id only what is in the local cache, without asking the hub. Raises ModelError that names
    every missing file, or, where the hub cannot be reached, the two ways out.
    """
    if model == "demo":
        folder = DEMO_FOLDER
    elif (there := _folder(model)) is not None:
        folder = there
    elif model.startswith((".", "/", "~")) or model.count("/") != 1:
        raise ModelError(f"No model folder at {model!r}. Give a folder that holds {', '.join(FILES)}, or a hub id.")
    else:
        folder = _fetch(model, fetch)
    _check_folder(folder)
    return folder


def name_anywhere(model: str) -> str:
    """`model` as another machine can find it: the absolute path of a folder; "demo" and hub ids unchanged."""
    folder = _folder(model)
    return str(folder.absolute()) if model != "demo" and folder is not None else model


def _folder(model: str) -> Path | None:
    """The folder that `model` names, if there is one."""
    path = os.path.expanduser(model)  # unlike Path's, it leaves the "~name" of an unknown user as it is
    return Path(path) if model and os.path.isdir(path) else None  # False, too, for a NUL or a name that is too long


def _fetch(model: str, fetch: bool) -> Path:
    """Download (or only find in the hub's cache) the files of a hub id; safetensors only, no code."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    revision = OFFICIAL_REVISION if model == OFFICIAL_MODEL else None
    try:
        return Path(snapshot_download(model, revision=revision, allow_patterns=list(FILES), local_files_only=not fetch))
    except HFValidationError as error:
        raise ModelError(f"{model!r} is neither a folder nor a hub id: {error}") from error
    except RepositoryNotFoundError as error:  # a gated one too
        raise ModelError(
            f"The hub has no {model!r}, or gives it only with HF_TOKEN; and there is no such folder here."
        ) from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ModelError(
            f"The model {model!r} is not in the hub's local cache, and the hub could not be reached "
            f"({type(error).__name__}). Two ways out: as the model a folder with a copy of its files "
            f"({', '.join(FILES)}), or `voxmill demo`, which brings a small model of its own."
        ) from error


def _check_folder(folder: Path) -> None:
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise ModelError(f"The model folder {folder} lacks {', '.join(missing)}. It must hold {', '.join(FILES)}.")
    try:
        config = json.loads((folder / "config.json").read_text())
        model_type = config.get("model_type")
    except (ValueError, AttributeError) as error:
        raise ModelError(f"{folder / 'config.json'} is not a JSON object: {error}") from error
    expected = {
        "model_type": MODEL_TYPE,
        "input_sample_rate": SAMPLE_RATE,
        "output_sample_rate": SAMPLE_RATE,
        "encode_downsample_rate": FRAME_SAMPLES,
        "decode_upsample_rate": FRAME_SAMPLES,
        "encoder_valid_num_quantizers": NUM_CODEBOOKS,
    }
    seen = {key: config.get(key) for key in expected}
    if seen != expected:
        wrong = ", ".join(
            f"{key} = {seen[key]!r} (expected {expected[key]!r})" for key in expected if seen[key] != expected[key]
        )
        raise ModelError(f"{folder} holds a {model_type!r} model, not the 12 Hz codec: {wrong}.")
    read_config(folder)
    try:
        with safe_open(folder / "model.safetensors", framework="numpy"):  # reads the header alone
            pass
    except SafetensorError as error:
        raise ModelError(
            f"{folder / 'model.safetensors'} is damaged, or not a safetensors file: {error}. No other format is read: "
            "copy or download it again."
        ) from error


@functools.cache
def _sha256(path: Path, size: int, modified_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def weights_sha256(folder: Path) -> str:
    """sha256 of the weights file, in hex."""
    path = folder / "model.safetensors"
    status = path.stat()
    return _sha256(path, status.st_size, status.st_mtime_ns)


def exact_context_frames(folder: Path) -> int:
    """Frames of left context with which a chunk's codes and wave equal those of the whole recording (`window`).

    Every transformer layer looks back over its window less one position: positions of 25 Hz in the encoder, frames in
    the decoder. The convolutions around them reach back 2 frames of audio and a few positions: 4 and 14 frames cover
    that.
    """
    config = read_config(folder)
    positions = config.encoder.num_hidden_layers * (config.encoder.sliding_window - 1)
    frames = config.decoder.num_hidden_layers * (config.decoder.sliding_window - 1)
    return max(-(-positions // STEPS) + 4, frames + 14)


def codebook_size(model: str) -> int:
    """Entries of each codebook of `model`, from its config; CODEBOOK_SIZE if that is not on this machine.

    Raises ModelError for a config that the engine does not implement.
    """
    folder = DEMO_FOLDER if model == "demo" else _folder(model)
    if folder is None or not (folder / "config.json").is_file():
        return CODEBOOK_SIZE  # the official one
    return read_config(folder).encoder.codebook_size
