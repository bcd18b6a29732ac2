"""What is looked at: pictures of what a model does and of how it learned."""
