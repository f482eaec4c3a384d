"""What each part of a critique agent is worth: ablations of Shen et al. 2026 (GPA, arXiv 2602.19180) as one study."""
