"""What there is at a site, in the words of each workload manager, for the doctor."""
