"""What is decided for one request."""
