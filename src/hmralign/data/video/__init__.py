"""Clips as streams of frames: video files through PyAV, and folders of pictures."""
