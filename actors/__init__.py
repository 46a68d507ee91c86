"""What lives on a device: the codec, its engines, the callable classes of the actor pools. Runs without Ray."""
