"""The three roles of one base model: what each is asked, and how its text is read.

A role never opens a socket and never raises over a model's text: it renders prompts and parses completions.
"""
