"""What may be searched: hyperparameters, their conditions, and how a value reaches the program."""
