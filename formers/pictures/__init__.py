"""Pictures of what a model does and of how it learned: arrays and strings in, a Figure out, each kind drawn once."""
