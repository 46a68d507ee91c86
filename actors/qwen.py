"""The checkpoint: a name or a folder -> upstream's modules with their weights. The one module that imports qwen_tts."""

import functools
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actors.compat import placeholders
from pipeline.errors import ModelError
from pipeline.schema import FRAME_SAMPLES, NUM_CODEBOOKS, SAMPLE_RATE

with placeholders():
    from qwen_tts import Qwen3TTSTokenizer
    from qwen_tts.core import Qwen3TTSTokenizerV2Config as Qwen3TTSTokenizerV2Config
    from qwen_tts.core import Qwen3TTSTokenizerV2Model as Qwen3TTSTokenizerV2Model

if TYPE_CHECKING:
    import torch

OFFICIAL_MODEL = "Qwen/Qwen3-TTS-Tokenizer-12Hz"
OFFICIAL_REVISION = "7dd38ad4e9bad454aae9cd937d0cd577604fe229"
MODEL_TYPE = "qwen3_tts_tokenizer_12hz"
FILES = ("config.json", "preprocessor_config.json", "model.safetensors")
DEMO_FOLDER = Path(__file__).parent / "demo_checkpoint"
FULL_SIZE_FOLDER = Path(__file__).parent / "full_size_config"


def find_model(model: str) -> Path:
    """The local folder of `model`: "demo" (bundled), a folder, or a hub id, fetched at the pinned revision.

    Raises ModelError that names every missing file, or, where the hub cannot be reached, the two ways out.
    """
    if model == "demo":
        folder = DEMO_FOLDER
    elif Path(model).expanduser().is_dir():
        folder = Path(model).expanduser()
    elif model.startswith((".", "/", "~")) or model.count("/") != 1:
        raise ModelError(f"No model folder at {model!r}. Give a folder that holds {', '.join(FILES)}, or a hub id.")
    else:
        folder = _fetch(model)
    _check_folder(folder)
    return folder


def _fetch(model: str) -> Path:
    """Download (or find in the hub's cache) the files of a hub id; safetensors only, no code."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    revision = OFFICIAL_REVISION if model == OFFICIAL_MODEL else None
    try:
        return Path(snapshot_download(model, revision=revision, allow_patterns=list(FILES)))
    except HFValidationError as error:
        raise ModelError(f"{model!r} is neither a folder nor a hub id: {error}") from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ModelError(
            f"The model {model!r} is not in the hub's local cache, and the hub could not be reached "
            f"({type(error).__name__}). Two ways out: --model FOLDER with a copy of its files ({', '.join(FILES)}), "
            "or `voxmill demo`, which brings a small model of its own."
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


@functools.cache
def _sha256(path: Path, size: int, modified_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(folder: Path) -> str:
    """sha256 of the weights file, in hex."""
    path = folder / "model.safetensors"
    status = path.stat()
    return _sha256(path, status.st_size, status.st_mtime_ns)


def load_upstream(model: str, device: str = "cpu", dtype: "torch.dtype | None" = None) -> Qwen3TTSTokenizer:
    """Upstream's own `Qwen3TTSTokenizer` (attention: sdpa), for comparisons and tests. dtype None: fp32."""
    import torch

    folder = find_model(model)
    options: dict[str, Any] = {"attn_implementation": "sdpa", "use_safetensors": True, "trust_remote_code": False}
    return Qwen3TTSTokenizer.from_pretrained(str(folder), device_map=device, dtype=dtype or torch.float32, **options)


def load_network(folder: Path) -> Qwen3TTSTokenizerV2Model:
    """The network of a checked folder, fp32 on the CPU, in evaluation mode."""
    network = load_upstream(str(folder)).model
    network.eval().requires_grad_(False)
    return network
