"""What `crayai doctor` does: runs the program at a few points, looks at the site, and says what it has found."""
