"""Upstream's modules -> the same network as functions of tensors: convolutions, attention, quantizers."""
