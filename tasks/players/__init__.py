"""The team of a round: its weights, and how its roles are sampled."""
