"""What makes a node one of several: how it is set up, what it holds, and how it is operated."""
