"""Loaded models over HTTP: a route for every verb, made from the declarations of their systems."""
