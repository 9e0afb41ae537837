"""ConStyle's codes of images before and after training (arXiv 2402.15784, figure 2)."""
