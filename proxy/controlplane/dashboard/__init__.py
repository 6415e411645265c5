"""The dashboard: one page that a browser gets from the admin endpoint, and the files that belong to it."""
