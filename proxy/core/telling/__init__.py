"""What is told of it all: log lines, journal entries, availability."""
