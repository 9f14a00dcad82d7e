"""Programs a person runs. Read `flows/selfplay.py` first, then `flows/round.py`."""
