"""What a node says of itself: health, metrics, readings for people."""
