"""What happened: the log of a study, and questions to it."""
