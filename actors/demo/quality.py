"""A checkpoint and held-out speech -> how well it speaks: distances, intelligibility, codebook use, a picture.

Everything goes through upstream's own class, from the exported files alone.

    python -m actors.demo.quality --speech FOLDER [--model demo] [--clips FOLDER] [--picture spectrogram.png]
"""

import argparse
import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch

from actors.contract import FRAME_SAMPLES, NUM_CODEBOOKS, SAMPLE_RATE
from actors.demo.pitch import compare_pitch, pitch, quiet_noise
from actors.demo.speech import read_clips, read_speech
from actors.measures import distance, intelligibility, level_db, magnitudes, si_sdr
from actors.qwen import load_upstream

COUNTS = (1, 2, 4, 8, 16)
"""Codebooks heard, for the growth of quality."""
PITCH_COUNTS = (1, 4, 16)
"""Codebooks heard, for the growth of pitch: finding it takes long."""


def encode(tokenizer: Any, wave: np.ndarray) -> torch.Tensor:
    """wave float32 [T] at 24 kHz -> codes int64 [F, 16]; the recording is padded to whole frames, as voxmill does."""
    padded = np.pad(wave, (0, -len(wave) % FRAME_SAMPLES))
    with torch.no_grad():
        return tokenizer.encode(padded, sr=SAMPLE_RATE).audio_codes[0]


def decode(tokenizer: Any, codes: torch.Tensor, samples: int) -> np.ndarray:
    """codes [F, 16] -> wave float32 [samples]."""
    with torch.no_grad():
        waves, _ = tokenizer.decode({"audio_codes": codes})
    return np.asarray(waves[0], dtype=np.float32)[:samples]


def first_codebooks(tokenizer: Any, count: int) -> Any:
    """The same tokenizer, whose decoder hears the first `count` codebooks: the entries of the others are zero."""
    deaf = copy.copy(tokenizer)
    deaf.model = copy.deepcopy(tokenizer.model)
    quantizer = deaf.model.decoder.quantizer
    for layer in [*quantizer.rvq_first.vq.layers, *quantizer.rvq_rest.vq.layers][count:]:
        layer._codebook.embedding_sum.data.zero_()
    return deaf


def like_noise(wave: np.ndarray, seed: int = 0) -> np.ndarray:
    """White noise of the wave's own level: what a codec that knows nothing might give."""
    return np.random.default_rng(seed).normal(0, wave.std(), len(wave)).astype(np.float32)


def codebook_use(codes: list[torch.Tensor], size: int) -> list[float]:
    """Share of each codebook's entries that occur in `codes`, for all 16."""
    together = torch.cat(codes)
    return [len(together[:, book].unique()) / size for book in range(NUM_CODEBOOKS)]


def measure(tokenizer: Any, clips: list[np.ndarray]) -> tuple[dict[str, np.ndarray], list[float]]:
    """Means over `clips` of (log-mel distance, STOI, SI-SDR) for each thing heard, and the use of each codebook."""
    codes = [encode(tokenizer, clip) for clip in clips]
    order = np.random.default_rng(0).permutation(NUM_CODEBOOKS)
    table = {}
    for count in COUNTS:
        heard = first_codebooks(tokenizer, count)
        table[f"{count} codebook{'s' * (count > 1)}"] = _mean(
            clips, [decode(heard, c, len(w)) for c, w in zip(codes, clips, strict=True)]
        )
    outputs = [decode(tokenizer, c[:, order], len(w)) for c, w in zip(codes, clips, strict=True)]
    table["16 codebooks in another order"] = _mean(clips, outputs)
    table["white noise of the same level"] = _mean(clips, [like_noise(wave) for wave in clips])
    table["silence"] = np.array([np.mean([distance(np.zeros_like(wave), wave) for wave in clips]), np.nan, np.nan])
    return table, codebook_use(codes, tokenizer.model.config.decoder_config.codebook_size)


def _mean(clips: list[np.ndarray], outputs: list[np.ndarray]) -> np.ndarray:
    pairs = zip(outputs, clips, strict=True)
    return np.mean([(distance(ours, wave), intelligibility(ours, wave), si_sdr(ours, wave)) for ours, wave in pairs], 0)


def measure_pitch(tokenizer: Any, clips: list[np.ndarray], counts: tuple[int, ...]) -> dict[int, np.ndarray]:
    """Codebooks heard -> means over `clips` of the three pitch errors, clips without voice left out."""
    codes, tracks = [encode(tokenizer, clip) for clip in clips], [pitch(clip) for clip in clips]
    table = {}
    for count in counts:
        heard = first_codebooks(tokenizer, count)
        outputs = [pitch(decode(heard, c, len(w))) for c, w in zip(codes, clips, strict=True)]
        table[count] = np.nanmean([compare_pitch(o, t) for o, t in zip(outputs, tracks, strict=True)], 0)
    return table


def silence_levels(tokenizer: Any) -> dict[str, float]:
    """What goes in -> the level in dBFS that comes out."""
    noises = {f"noise of {level} dBFS": quiet_noise(level=level) for level in (-80, -60.2)}
    waves = {"digital silence": np.zeros(4 * SAMPLE_RATE, np.float32)} | noises
    return {name: level_db(decode(tokenizer, encode(tokenizer, wave), len(wave))) for name, wave in waves.items()}


def draw(before: np.ndarray, after: np.ndarray, path: Path) -> None:
    """A PNG with the spectrograms of one recording before and after the codec, 0 to 8 kHz."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 1, figsize=(8, 4.4), sharex=True, layout="constrained")
    for axis, wave, title in zip(axes, (before, after), ("recording", "after 16 codes each 80 ms"), strict=True):
        level = 20 * magnitudes(torch.from_numpy(wave)[None], 1024, 240)[0].clamp(min=1e-5).log10()
        extent = (0, len(wave) / SAMPLE_RATE, 0, SAMPLE_RATE / 2000)
        image = axis.imshow(level, origin="lower", aspect="auto", extent=extent, vmin=-90, vmax=-20, cmap="magma")
        axis.set(title=title, ylabel="kHz", ylim=(0, 8))
    axes[1].set_xlabel("s")
    figure.colorbar(image, ax=axes, label="dB")
    figure.savefig(path, dpi=70)
    pyplot.close(figure)


def report(tokenizer: Any, clips: list[np.ndarray], counts: tuple[int, ...]) -> None:
    """Print the tables of the model card."""
    table, used = measure(tokenizer, clips)
    print("| heard | log-mel distance | STOI | SI-SDR, dB |\n|---|---|---|---|")
    for name, (mel, stoi, sdr) in table.items():
        print(f"| {name} | {mel:.3f} | {stoi:.3f} | {sdr:.1f} |")
    print("entries used, %: " + " ".join(f"{100 * share:.0f}" for share in used))
    print("| codebooks heard | pitch frames wrong | of the voiced | of those voiced in both |\n|---|---|---|---|")
    for count, errors in measure_pitch(tokenizer, clips, counts).items():
        print(f"| {count} | " + " | ".join(f"{100 * error:.1f} %" for error in errors) + " |")


def report_clips(tokenizer: Any, clips: dict[str, np.ndarray]) -> None:
    """Print a row for each clip, by name, heard through 16 codebooks."""
    print("| clip | log-mel distance | STOI | SI-SDR, dB | pitch frames wrong |\n|---|---|---|---|---|")
    for name, wave in clips.items():
        output = decode(tokenizer, encode(tokenizer, wave), len(wave))
        errors = compare_pitch(pitch(output), pitch(wave))
        figures = f"{distance(output, wave):.3f} | {intelligibility(output, wave):.3f} | {si_sdr(output, wave):.1f}"
        print(f"| {name} | {figures} | {100 * errors.frames:.1f} % |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=Path, required=True, help="the folder that train_demo was given")
    parser.add_argument("--model", default="demo", help='"demo", or a checkpoint folder')
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument(
        "--clips", type=Path, help="measure these, too, with 16 codebooks: recordings in any folder below"
    )
    parser.add_argument("--picture", type=Path, help="write the spectrograms of a held-out clip here")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    tokenizer = load_upstream(options.model)
    _, held_out = read_speech(options.speech)
    report(tokenizer, held_out, PITCH_COUNTS)
    if options.clips:
        report_clips(tokenizer, read_clips(options.clips))
    for name, level in silence_levels(tokenizer).items():
        print(f"{name}: {level:.1f} dBFS")
    if options.picture:
        clip = held_out[0][: 6 * SAMPLE_RATE]
        draw(clip, decode(tokenizer, encode(tokenizer, clip), len(clip)), options.picture)


if __name__ == "__main__":
    main()
