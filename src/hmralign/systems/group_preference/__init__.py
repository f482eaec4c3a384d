"""A vision-language model judges groups of hypotheses, learns on groups with truth, and scores others with what it
learnt."""
