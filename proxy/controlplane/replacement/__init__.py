"""The programs before and after this one, and the workers that one of them left behind."""
