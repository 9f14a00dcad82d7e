"""Prefect: server, UI, deployments, their forms, and artifacts for the UI."""
