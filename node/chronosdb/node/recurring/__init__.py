"""Recurring schedules: the rule, the events made of it, and changing it."""
