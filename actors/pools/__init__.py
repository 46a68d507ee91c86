"""The callable classes of the actor pools."""
