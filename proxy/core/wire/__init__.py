"""HTTP/1.1 and what stands before it: what is read, what is refused, what is written."""
