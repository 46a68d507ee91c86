"""Audio -> features of frames: the encoder's stack of causal convolutions."""

from dataclasses import dataclass

from torch import Tensor

from actors.config import STEPS, EncoderConfig
from actors.network.activations import elu
from actors.network.layers import Conv, Size, conv
from actors.network.weights import Weights
from actors.tiling.stack import Carried
from actors.tiling.tiles import Reach


@dataclass(frozen=True)
class Stage:
    """Residual units and the strided convolution after them."""

    units: list[tuple[Conv, Conv]]
    down: Conv

    def __call__(self, x: Tensor, carried: Carried | None) -> Tensor:
        for inner, outer in self.units:
            x = outer(inner(x, carried, elu), carried, elu).add_(x)
        return self.down(x, carried, elu)


@dataclass(frozen=True)
class Convolutions:
    """The SEANet encoder, the expensive half of encoding."""

    first: Conv
    stages: list[Stage]
    last: Conv

    @property
    def reaches(self) -> list[Reach]:
        """The reach of each layer, in order."""
        layers = [self.first]
        for stage in self.stages:
            layers += [*[layer for unit in stage.units for layer in unit], stage.down]
        return [layer.reach for layer in (*layers, self.last)]

    def __call__(self, audio: Tensor, carried: Carried | None = None) -> Tensor:
        """audio [B, F, FRAME_SAMPLES] -> features [B, F, STEPS * D]."""
        x = self.first(audio.flatten(1).unsqueeze(2), carried)
        for stage in self.stages:
            x = stage(x, carried)
        return self.last(x, carried, elu).unflatten(1, (-1, STEPS)).flatten(2)


def convolutions(weights: Weights, config: EncoderConfig) -> Convolutions:
    """Upstream numbers all layers in one list, an activation before each strided and before the last convolution."""
    number, width, stages = 1, config.num_filters, []
    for ratio in reversed(config.upsampling_ratios):
        dilations = [config.dilation_growth_rate**index for index in range(config.num_residual_layers)]
        units = [_unit(weights.at(number + i).at("block"), config, width, step) for i, step in enumerate(dilations)]
        number += len(units) + 1
        down = conv(weights.at(number).at("conv"), Size(width, 2 * width, 2 * ratio, ratio))
        stages.append(Stage(units, down))
        number, width = number + 1, 2 * width
    return Convolutions(
        conv(weights.at(0).at("conv"), Size(1, config.num_filters, config.kernel_size)),
        stages,
        conv(weights.at(number + 1).at("conv"), Size(width, config.hidden_size, config.last_kernel_size)),
    )


def _unit(weights: Weights, config: EncoderConfig, width: int, dilation: int) -> tuple[Conv, Conv]:
    narrow = width // config.compress
    inner = Size(width, narrow, config.residual_kernel_size, dilation=dilation)
    return conv(weights.at("1.conv"), inner), conv(weights.at("3.conv"), Size(narrow, width, 1))
