"""Upstream's weights as functions of tensors: convolutions, attention, quantizers."""
