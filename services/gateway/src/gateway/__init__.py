"""Accepts sign-ups over gRPC, and tells how they go."""
