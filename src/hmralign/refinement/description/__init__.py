"""Descriptions of a pose in words, as a vision-language model gives them: questions, answers, and what is believed."""
