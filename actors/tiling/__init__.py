"""Long sequences through the convolutions in tiles of one shape."""
