"""Scores: what no kept library measures for us, and thin doors to those that do."""
