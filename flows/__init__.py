"""Programs that a person or Prefect runs. Read `flows/round.py` first, then `flows/selfplay.py`."""
