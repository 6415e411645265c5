"""The worker processes: started, led, replaced when they die, and drained at the end."""
