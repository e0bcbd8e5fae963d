"""One machine, several processes: a supervisor and its workers, which are a small cluster of nodes."""
