"""Keeps the contacts of a customer-relationship system."""
