"""What `experiments.campaign` does to a run, a dataset, a cache and to files from elsewhere."""
