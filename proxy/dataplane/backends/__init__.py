"""The connections to Backends: opened, kept, read, and how they fail."""
