"""ConStyle's codes of degraded and clean images, before and after training (arXiv 2402.15784,
figure 2).
"""
