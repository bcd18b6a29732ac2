"""Data in: sources read rows, batching groups them, order shuffles them."""
