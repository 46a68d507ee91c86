"""A folder of speech -> the demo checkpoint: a small Qwen3TTSTokenizerV2Model, trained from nothing in about an hour.

Two stages, by share of the minutes given. "mel": everything but the waveform stack learns, through an auxiliary
linear head, to predict log-mel patches from the latents at 50 Hz, at first without the quantizer. "joint": the waveform
stack starts as a bank of tones, and the whole network learns from a reconstruction loss. The head is dropped at export.
`--out` holds state.pt and log.csv and resumes.

    python -m actors.train_demo --speech FOLDER --minutes 70 --out DIR
"""

import argparse
import copy
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from actors.demo_codebooks import start_codebooks
from actors.demo_losses import PATCH_BANDS, PATCH_HOP, log_mel_distance, patches, reconstruction_loss
from actors.demo_network import LATENT_STEPS, branches, build_network, decoder_latents, export, latents, waveform
from actors.demo_speech import draw_batch, read_speech
from actors.demo_vocoder import start_vocoder
from pipeline.schema import FRAME_SAMPLES, NUM_CODEBOOKS, SAMPLE_RATE

QUANTIZE_AFTER, JOINT_AFTER = 0.03, 0.4
"""Shares of the training time: until the quantizer starts, until the waveform stack starts."""
MEL_CROP, JOINT_CROP = (4, 20), (4, 12)
"""(clips, codec frames) of a batch: long crops for the transformers, short ones for the costly waveform stack."""
PEAK_RATE, LAST_RATE, WARM_STEPS = 1e-3, 5e-5, 100
"""Learning rate: linear up, then a cosine down over the training time."""
START_BATCHES = 50
"""Batches whose latents start the codebooks."""
FEWER_CODEBOOKS = 0.3
"""Share of clips that are heard through fewer than 16 codebooks, so that the first ones carry most."""
LOG_EVERY, LISTEN_EVERY = 50, 250
"""Steps between rows of log.csv, and between looks at the held-out clips."""
AVERAGE_DECAY = 0.995
"""Of the running average of weights that is exported."""


@dataclass
class Training:
    """All that a step changes: `network` and `head` learn, `average` is what will be exported."""

    network: Any
    head: nn.Linear
    average: Any
    optimizer: torch.optim.Optimizer
    step: int = 0
    trained_s: float = 0.0
    quantizing: bool = False
    speaking: bool = False


def new_training(seed: int, device: str) -> Training:
    network = build_network(seed).to(device).train()
    steps = FRAME_SAMPLES // PATCH_HOP // LATENT_STEPS
    head = nn.Linear(network.config.decoder_config.latent_dim, steps * PATCH_BANDS, device=device)
    nn.init.constant_(head.bias, -6.0)  # about the mean of log-mel speech
    average = copy.deepcopy(network).eval().requires_grad_(False)
    parameters = [p for name, p in network.named_parameters() if "_codebook" not in name]
    optimizer = torch.optim.AdamW([*parameters, *head.parameters()], betas=(0.8, 0.99), weight_decay=0.01)
    return Training(network, head, average, optimizer)


def start_quantizer(training: Training, clips: list[np.ndarray], seed: int) -> None:
    """Codebooks from the latents that the network has by now."""
    device = training.head.weight.device
    with torch.no_grad():
        seen = [
            latents(training.network, draw_batch(clips, MEL_CROP, seed + 1, i).to(device)) for i in range(START_BATCHES)
        ]
        for quantizer, _, _ in branches(training.network):
            projected = quantizer.input_proj(torch.cat(seen))
            start_codebooks(quantizer, projected.transpose(1, 2).flatten(0, 1))
    training.quantizing = True


def start_speaking(training: Training, clips: list[np.ndarray], seed: int) -> None:
    """The waveform stack as a bank of tones, fitted to the latents that the network has by now."""
    network = training.network.eval()
    device = training.head.weight.device
    with torch.no_grad():
        waves = [draw_batch(clips, MEL_CROP, seed + 2, i).to(device) for i in range(START_BATCHES)]
        used = torch.full((len(waves[0]),), NUM_CODEBOOKS, device=device)
        features = [decoder_latents(network, latents(network, wave), used)[0] for wave in waves]
        start_vocoder(network.decoder, torch.cat(features), torch.cat(waves))
    training.average.load_state_dict(network.train().state_dict())
    training.speaking = True


def train_step(training: Training, wave: torch.Tensor, stack: Callable[..., torch.Tensor] | None) -> dict[str, float]:
    """One step on wave [B, T]; `stack` None: the mel stage. Returns the losses."""
    network = training.network
    random = np.random.default_rng(training.step)
    used = None
    if training.quantizing:
        few = random.random(len(wave)) < FEWER_CODEBOOKS
        drawn = np.where(few, random.integers(1, NUM_CODEBOOKS, len(wave)), NUM_CODEBOOKS)
        used = torch.from_numpy(drawn).to(wave.device)
    features, penalty = decoder_latents(network, latents(network, wave), used)
    patch_loss = F.l1_loss(training.head(features.transpose(1, 2)), patches(wave, features.shape[-1]))
    loss = patch_loss + 0.1 * penalty
    losses = {"patch": patch_loss.item(), "penalty": penalty.item()}
    if stack is not None:
        reconstruction, mel = reconstruction_loss(stack(network.decoder.decoder, features), wave)
        loss = reconstruction + 0.3 * patch_loss + 0.1 * penalty
        losses["mel"] = mel.item()
    training.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    training.optimizer.step()
    follow_average(training)
    training.step += 1
    return losses | {"loss": loss.item()}


def follow_average(training: Training) -> None:
    decay = min(AVERAGE_DECAY, (1 + training.step) / (10 + training.step))
    ours, theirs = list(training.average.parameters()), list(training.network.parameters())
    torch._foreach_lerp_(ours, [parameter.detach() for parameter in theirs], 1 - decay)
    for mine, other in zip(training.average.buffers(), training.network.buffers(), strict=True):
        mine.copy_(other)  # codebooks are running averages already


def learning_rate(step: int, progress: float) -> float:
    """`progress` 0..1 of the training time."""
    cosine = LAST_RATE + 0.5 * (PEAK_RATE - LAST_RATE) * (1 + np.cos(np.pi * min(1.0, progress)))
    return float(cosine * min(1.0, (step + 1) / WARM_STEPS))


@torch.no_grad()
def held_out_distance(network: Any, clips: list[np.ndarray], seconds: int = 4) -> float:
    """Mean log-mel distance over the first seconds of `clips`, all 16 codebooks."""
    device = next(network.parameters()).device
    distances = []
    for clip in clips:
        frames = min(len(clip) // FRAME_SAMPLES, int(seconds * SAMPLE_RATE / FRAME_SAMPLES))
        wave = torch.from_numpy(clip[None, : frames * FRAME_SAMPLES]).to(device)
        features, _ = decoder_latents(network, latents(network, wave), torch.tensor([NUM_CODEBOOKS], device=device))
        distances.append(log_mel_distance(waveform(network.decoder.decoder, features), wave).item())
    return float(np.mean(distances))


def save_state(training: Training, path: Path) -> None:
    parts = {name: getattr(training, name).state_dict() for name in ("network", "head", "average", "optimizer")}
    counters = {name: getattr(training, name) for name in ("step", "trained_s", "quantizing", "speaking")}
    torch.save(parts | counters, path.with_suffix(".part"))
    os.replace(path.with_suffix(".part"), path)


def load_state(training: Training, path: Path) -> None:
    state = torch.load(path, map_location=training.head.weight.device, weights_only=True)
    for name, value in state.items():
        if name in ("network", "head", "average", "optimizer"):
            getattr(training, name).load_state_dict(value)
        else:
            setattr(training, name, value)


def train(training: Training, speech: Path, minutes: float, out: Path, options: argparse.Namespace) -> None:
    """Steps until `minutes` of training are done in all, state and log in `out`; a pause of the process counts not."""
    clips, held_out = read_speech(speech)
    device = training.head.weight.device
    stack = torch.compile(waveform, dynamic=False) if options.compile else waveform
    log = out / "log.csv"
    if not log.exists():
        log.write_text("step,minutes,rate,loss,mel,patch,penalty,held_out\n")
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    smooth: dict[str, float] = {}
    saved_s, started = training.trained_s, time.monotonic()
    while training.trained_s < minutes * 60 and training.step < options.steps and not stop.is_set():
        progress = training.trained_s / (minutes * 60)
        rate = learning_rate(training.step, progress)
        for group in training.optimizer.param_groups:
            group["lr"] = rate
        if not training.quantizing and progress >= QUANTIZE_AFTER:
            start_quantizer(training, clips, options.seed)
        joint = progress >= JOINT_AFTER
        if joint and not training.speaking:
            start_speaking(training, clips, options.seed)
        wave = draw_batch(clips, JOINT_CROP if joint else MEL_CROP, options.seed, training.step).to(device)
        losses = train_step(training, wave, stack if joint else None)
        smooth = {name: 0.95 * smooth.get(name, value) + 0.05 * value for name, value in losses.items()}
        now = time.monotonic()
        training.trained_s += min(now - started, 5.0)
        started = now
        if training.step % LOG_EVERY == 0:
            distance = (
                held_out_distance(training.average, held_out[:8])
                if joint and training.step % LISTEN_EVERY == 0
                else None
            )
            row = [training.step, round(training.trained_s / 60, 2), f"{rate:.2e}"]
            row += [round(smooth.get(name, float("nan")), 4) for name in ("loss", "mel", "patch", "penalty")]
            with log.open("a") as file:
                file.write(",".join(map(str, [*row, "" if distance is None else round(distance, 4)])) + "\n")
            started = time.monotonic()
        if training.trained_s - saved_s > options.save_every_s:
            save_state(training, out / "state.pt")
            saved_s = training.trained_s
    save_state(training, out / "state.pt")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=Path, required=True, help="folder of .flac or .wav files")
    parser.add_argument("--minutes", type=float, required=True, help="training time in all, earlier runs included")
    parser.add_argument("--out", type=Path, required=True, help="folder of state.pt, log.csv and checkpoint/")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=10**9, help="stop after so many steps, too")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--save-every-s", type=float, default=120)
    parser.add_argument("--no-compile", dest="compile", action="store_false", help="do not compile the waveform stack")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    training = new_training(options.seed, options.device)
    if (options.out / "state.pt").exists():
        load_state(training, options.out / "state.pt")
    train(training, options.speech, options.minutes, options.out, options)
    export(training.average, options.out / "checkpoint")


if __name__ == "__main__":
    main()
