"""Creates users, once per address."""
