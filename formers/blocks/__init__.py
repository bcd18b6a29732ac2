"""The shared parts: every model of the library is made of these."""
