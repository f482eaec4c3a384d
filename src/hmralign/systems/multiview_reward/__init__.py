"""Multi-view models, fine-tuned by the pose that is seen in their views."""
