"""The memory plan of a round: how many bytes each stage holds on one card, term by term. It loads no weights."""
