"""Long sequences -> tiles of few shapes, run through the convolutions, and joined again."""
