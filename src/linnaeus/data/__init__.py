"""Pictures in: sources, decoding, the pixel cache, batches. Knows nothing of networks."""
