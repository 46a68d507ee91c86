"""The command `voxmill`."""
