"""How available Routes and Pools were, kept over restarts."""
