"""Networks: the lessons', our own, timm's; their weights, heads and stages. Knows nothing of data."""

from linnaeus.nn.quick_import import import_timm

import_timm()
