"""The stages of a self-play round (verbs, at the top) and the parts they are made of (nouns, in the folders)."""
