"""Where the trainings of a study run: on this machine, on a Ray cluster or under Slurm."""
