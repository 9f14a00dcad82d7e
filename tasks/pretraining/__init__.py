"""Train the shipped tiny models from scratch on the micro world, and measure them for their model card."""
