"""Reports of a round: its figures, a chart, Markdown, and a page of all its questions with their pictures."""
