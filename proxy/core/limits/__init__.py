"""What is shed, and who waits, where there is too much."""
