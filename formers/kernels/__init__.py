"""Speed on a CPU: forms of a matrix, compiled loops, tiles. No model needs them to be right."""
