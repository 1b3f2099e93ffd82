"""Keeps every message of the users domain in a Delta table."""
