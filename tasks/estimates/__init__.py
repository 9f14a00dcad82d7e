"""How much a round asks of its models, where the work stands, and how long it takes. Nothing is sampled or loaded."""
