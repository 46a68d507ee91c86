"""The encoder's convolutions: upstream's numbers, how far they look back, carrying instead of padding."""

from pathlib import Path

import pytest
import torch

from actors.contract import FRAME_SAMPLES
from actors.network.encoder import Encoder
from actors.qwen import load_network
from actors.tiling.tiles import left_reach
from tests.helpers.engine import encoder_of


@pytest.fixture(scope="module")
def made(small_model: Path) -> Encoder:
    return encoder_of(small_model, torch.float64)


def test_features_are_upstreams(small_model: Path) -> None:
    network = load_network(small_model).encoder
    audio = 0.1 * torch.randn(2, 5, FRAME_SAMPLES)
    with torch.inference_mode():
        expected = network.encoder(audio.flatten(1)[:, None]).transpose(1, 2)
        features = encoder_of(small_model).convolutions(audio)
    torch.testing.assert_close(features.reshape(expected.shape), expected, rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_reach_is_what_a_change_of_input_shows(made: Encoder) -> None:
    reach = left_reach(made.convolutions.reaches)
    assert FRAME_SAMPLES < reach <= made.halo * FRAME_SAMPLES == 3840
    first = 4 * FRAME_SAMPLES

    def seen(sample: int) -> bool:
        audio = torch.randn(1, 6, FRAME_SAMPLES, dtype=torch.float64)
        audio.view(-1)[sample] = torch.nan  # reaches all that depends on it, however little
        return bool(made.convolutions(audio)[:, 4:].isnan().any())

    assert seen(first - reach)
    assert not any(seen(first - reach - before) for before in (1, 2, 100))


@torch.inference_mode()
@pytest.mark.parametrize("pieces", [[9], [1] * 9, [2, 7], [4, 1, 4]])
def test_carrying_is_the_same_as_at_once(made: Encoder, pieces: list[int]) -> None:
    audio = torch.randn(2, 9, FRAME_SAMPLES, dtype=torch.float64)
    carried: dict[object, torch.Tensor] = {}
    parts = [made.convolutions(part, carried) for part in audio.split(pieces, 1)]
    torch.testing.assert_close(torch.cat(parts, 1), made.convolutions(audio))
    assert sum(state.numel() for state in carried.values()) < audio.numel()  # bounded: kernels, not lengths


@torch.inference_mode()
def test_a_tile_with_its_halo_is_exact_behind_it(made: Encoder) -> None:
    audio = torch.randn(1, 9, FRAME_SAMPLES, dtype=torch.float64)
    tile = made.convolutions(audio[:, 3:])[:, made.halo :]
    torch.testing.assert_close(tile, made.convolutions(audio)[:, 3 + made.halo :])
    spoiled = made.convolutions(audio[:, 4:])[:, made.halo - 1 : made.halo]
    assert not torch.equal(spoiled, made.convolutions(audio)[:, 3 + made.halo : 4 + made.halo])
