"""`voxmill doctor`: what of this machine, or in the record of a run, must be changed; how long a corpus will take."""
