"""An initial answer made better by keypoints and words, with a diffusion model around it."""
