"""One request and its answer, from the decision to the last byte."""
