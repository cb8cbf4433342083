"""Two hospitals learn to predict diabetes together: a Flower app that needs NumPy and nothing else."""
