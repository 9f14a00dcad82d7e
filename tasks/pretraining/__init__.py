"""The recipe of the shipped tiny models."""
