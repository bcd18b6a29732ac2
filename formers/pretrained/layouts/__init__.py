"""What families of one kind share: how their files spell a body, its heads, positions and windows."""
