"""Checks on pseudo-labels: gold items, leakage checks, and early stopping of votes."""
