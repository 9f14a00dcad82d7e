"""Reports of a round: its figures, a chart, Markdown, and a page of the curriculum with its pictures."""
