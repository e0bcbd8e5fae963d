"""A client's request that one node cannot answer alone: the others are asked for their part."""
