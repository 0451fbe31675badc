"""Adversarial training, as the paper does it (Section 4, Appendix B): who trains on what, in which order, with what."""
