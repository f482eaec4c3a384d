"""What a critic that speaks has learnt: rules and remembered cases, kept in one file, shown again, frozen."""
