"""Copies of a partition's log on several nodes: one leads, the others follow, none loses what is committed."""
