"""What people use: one file per system, its task (loss, evaluation) and its verbs."""
