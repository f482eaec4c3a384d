"""People of a clip: every frame answered as a photo is, then followed, linked and smoothed over time."""
