"""One partition: its log, the state computed from it, and the tasks that write, fire and deliver."""
