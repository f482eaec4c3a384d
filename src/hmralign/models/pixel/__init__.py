"""`pixel`: the lite model that also sees the pixels of a person's crop."""
