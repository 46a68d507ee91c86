"""Long sequences -> tiles of one shape, run through the convolutions, and joined again."""
