"""Photo to people with keypoints and masks: a detector in its own process, and files that other tools wrote."""
