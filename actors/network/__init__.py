"""A checkpoint's weights -> its network as functions of tensors: convolutions, attention, quantizers."""
