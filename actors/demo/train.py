"""A folder of speech -> the demo checkpoint: a small Qwen3TTSTokenizerV2Model, trained from nothing in an hour.

First every layer is fitted (`fit_network`), after which the network already speaks; encoder and codebooks then stay as
they are. The decoder goes on learning from a reconstruction loss. An auxiliary linear head that predicts log-mel
patches from the latents is dropped at export. `--out` holds state.pt and log.csv and resumes.

    python -m actors.demo.train --speech FOLDER --minutes 60 --out DIR
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

from actors.contract import FRAME_SAMPLES, NUM_CODEBOOKS, SAMPLE_RATE
from actors.demo.fit_network import fit_network, hold
from actors.demo.losses import (
    PATCH_BANDS,
    PATCH_HOP,
    low_band_loss,
    patches,
    reconstruction_loss,
)
from actors.demo.network import (
    LATENT_STEPS,
    build_network,
    decoder_latents,
    export,
    latents,
    waveform,
)
from actors.demo.speech import draw_batch, read_speech
from actors.measures import log_mel_distance

CROP = (4, 12)
"""(clips, codec frames) of a training batch: short, the waveform stack is what costs."""
PEAK_RATE, LAST_RATE, WARM_STEPS = 7e-4, 2e-5, 100
"""Learning rate: linear up, then a cosine down over the training time."""
FEWER_CODEBOOKS = 0.1
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
    started: bool = False


def new_training(seed: int, device: str) -> Training:
    network = build_network(seed).to(device).train()
    steps = FRAME_SAMPLES // PATCH_HOP // LATENT_STEPS
    head = nn.Linear(network.config.decoder_config.latent_dim, steps * PATCH_BANDS, device=device)
    average = copy.deepcopy(network).eval().requires_grad_(False)
    hold(network)
    learned = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam([*learned, *head.parameters()], betas=(0.8, 0.99))
    return Training(network, head, average, optimizer)


def train_step(training: Training, wave: torch.Tensor, stack: Callable[..., torch.Tensor]) -> dict[str, float]:
    """One step on wave [B, T]; `stack` is `waveform` or its compiled twin. Returns the losses."""
    network = training.network
    random = np.random.default_rng(training.step)
    few = random.random(len(wave)) < FEWER_CODEBOOKS
    drawn = np.where(few, random.integers(1, NUM_CODEBOOKS, len(wave)), NUM_CODEBOOKS)
    with torch.no_grad():
        hidden = latents(network, wave)
    features = decoder_latents(network, hidden, torch.from_numpy(drawn).to(wave.device))
    patch = F.l1_loss(training.head(features.transpose(1, 2)), patches(wave, features.shape[-1]))
    output = stack(network.decoder.decoder, features)
    reconstruction, mel = reconstruction_loss(output, wave)
    low = low_band_loss(output, wave)
    loss = reconstruction + 0.3 * patch + 0.25 * low
    training.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    training.optimizer.step()
    follow_average(training)
    training.step += 1
    return {"loss": loss.item(), "mel": mel.item(), "low": low.item(), "patch": patch.item()}


def follow_average(training: Training) -> None:
    decay = min(AVERAGE_DECAY, (1 + training.step) / (10 + training.step))
    ours, theirs = list(training.average.parameters()), list(training.network.parameters())
    torch._foreach_lerp_(ours, [parameter.detach() for parameter in theirs], 1 - decay)
    for mine, other in zip(training.average.buffers(), training.network.buffers(), strict=True):
        mine.copy_(other)


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
        features = decoder_latents(network, latents(network, wave), torch.tensor([NUM_CODEBOOKS], device=device))
        distances.append(log_mel_distance(waveform(network.decoder.decoder, features), wave).item())
    return float(np.mean(distances))


def save_state(training: Training, path: Path) -> None:
    parts = {name: getattr(training, name).state_dict() for name in ("network", "head", "average", "optimizer")}
    counters = {name: getattr(training, name) for name in ("step", "trained_s", "started")}
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
        log.write_text("step,minutes,rate,loss,mel,low,patch,held_out\n")
    if not training.started:
        fit_network(training.network, training.head, clips, options.seed)
        training.average.load_state_dict(training.network.state_dict())
        training.started = True
        save_state(training, out / "state.pt")
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    smooth: dict[str, float] = {}
    saved_s, started = training.trained_s, time.monotonic()
    while training.trained_s < minutes * 60 and training.step < options.steps and not stop.is_set():
        progress = training.trained_s / (minutes * 60)
        rate = learning_rate(training.step, progress)
        for group in training.optimizer.param_groups:
            group["lr"] = rate
        wave = draw_batch(clips, CROP, options.seed, training.step).to(device)
        losses = train_step(training, wave, stack)
        smooth = {name: 0.95 * smooth.get(name, value) + 0.05 * value for name, value in losses.items()}
        now = time.monotonic()
        training.trained_s += min(now - started, 5.0)
        started = now
        if training.step % LOG_EVERY == 0:
            listen = training.step % LISTEN_EVERY == 0
            distance = held_out_distance(training.average, held_out[:8]) if listen else None
            row = [training.step, round(training.trained_s / 60, 2), f"{rate:.2e}"]
            row += [round(smooth.get(name, float("nan")), 4) for name in ("loss", "mel", "low", "patch")]
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
