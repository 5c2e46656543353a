"""What to try next: pure algorithms, without files, clocks, processes or randomness of their own."""
