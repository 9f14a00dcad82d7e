"""How a round is told: figures, a chart, Markdown, and a page of the curriculum with its pictures."""
