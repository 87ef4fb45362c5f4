"""Looking at a model: held-out pairs, sample grids, rationality."""
