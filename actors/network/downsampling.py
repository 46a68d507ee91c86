"""Audio -> features of frames: the encoder's stack of causal convolutions."""

from dataclasses import dataclass

from torch import Tensor

from actors.config import STEPS, EncoderConfig
from actors.network.activations import Elu
from actors.network.layers import Conv, Size, Unit, conv, outer
from actors.network.weights import Weights
from actors.tiling.stack import Carried
from actors.tiling.tiles import Reach


@dataclass(frozen=True)
class Stage:
    """Residual units and the strided convolution after them."""

    units: list[Unit]
    before: Elu
    down: Conv

    def __call__(self, x: Tensor, carried: Carried | None) -> Tensor:
        for unit in self.units:
            x = unit(x, carried)
        return self.down(x, carried, self.before)


@dataclass(frozen=True, eq=False)
class Convolutions:
    """The SEANet encoder, the expensive half of encoding."""

    first: Conv
    stages: list[Stage]
    before: Elu
    last: Conv

    @property
    def reaches(self) -> list[Reach]:
        """The reach of each layer, in order."""
        layers = [self.first]
        for stage in self.stages:
            layers += [*[unit.inner for unit in stage.units], stage.down]
        return [layer.reach for layer in (*layers, self.last)]

    def __call__(self, audio: Tensor, carried: Carried | None = None) -> Tensor:
        """audio [B, F, FRAME_SAMPLES] -> features [B, F, STEPS * D]."""
        x = self.first(audio.flatten(1).unsqueeze(2), carried)
        for stage in self.stages:
            x = stage(x, carried)
        return self.last(x, carried, self.before).unflatten(1, (-1, STEPS)).flatten(2)


def convolutions(weights: Weights, config: EncoderConfig) -> Convolutions:
    """Upstream numbers all layers in one list, an activation before each strided and before the last convolution."""
    first = conv(weights.at(0).at("conv"), Size(1, config.num_filters, config.kernel_size), defers_bias=True)
    number, width, stages, deferred = 1, config.num_filters, [], first.deferred
    for ratio in reversed(config.upsampling_ratios):
        units = []
        for index in range(config.num_residual_layers):
            units.append(_unit(weights.at(number).at("block"), config, width, index, deferred))
            number, deferred = number + 1, units[-1].deferred
        down = conv(weights.at(number + 1).at("conv"), Size(width, 2 * width, 2 * ratio, ratio), defers_bias=True)
        stages.append(Stage(units, Elu(deferred), down))
        number, width, deferred = number + 2, 2 * width, down.deferred
    last = conv(weights.at(number + 1).at("conv"), Size(width, config.hidden_size, config.last_kernel_size))
    return Convolutions(first, stages, Elu(deferred), last)


def _unit(weights: Weights, config: EncoderConfig, width: int, index: int, deferred: Tensor | None) -> Unit:
    narrow, dilation = width // config.compress, config.dilation_growth_rate**index
    size = Size(width, narrow, config.residual_kernel_size, dilation=dilation)
    inner = conv(weights.at("1.conv"), size, defers_bias=True)
    return Unit(Elu(deferred), inner, Elu(inner.deferred), *outer(weights.at("3.conv"), narrow, width, deferred))
