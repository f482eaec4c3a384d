"""People of single frames as people over time: who is who, which hypotheses belong together, and smooth motion."""
