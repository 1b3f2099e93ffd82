"""Greets new users by e-mail."""
