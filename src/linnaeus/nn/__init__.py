"""Networks: the lessons', our own, timm's; their weights, heads and stages. Knows nothing of data."""
