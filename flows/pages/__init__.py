"""Pages of rounds and runs, made from the store alone: for `active-zero page`, and for `active-zero ui`."""
