"""Models that join words and poses."""
