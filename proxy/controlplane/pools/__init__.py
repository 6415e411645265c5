"""What is known of each Pool and Backend, and what follows from it."""
