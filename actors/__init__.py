"""The codec engine, and the callable classes of the actor pools that use it. Runs without Ray."""
