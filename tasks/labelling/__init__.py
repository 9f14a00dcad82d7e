"""How far pseudo-labels can be trusted: gold items, leakage checks, early stopping of votes."""
