"""How a stage runs: the `@stage` decorator, dry runs, progress, processes and devices."""
