"""Looking at a model: held-out pairs, sample grids, images of held-out conditions."""
