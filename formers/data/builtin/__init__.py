"""Data that this project makes itself, so that everything runs on a fresh machine without a network."""
