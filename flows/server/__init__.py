"""The Prefect side: server, UI, deployments, forms, and artifacts for the UI."""
