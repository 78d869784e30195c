"""From seeds to images, to features, to numbers under a protocol."""
