"""Small models that see the pixels of a person's crop."""
