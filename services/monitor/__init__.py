"""The monitor: takes every span in, keeps figures and recent traces, and says when a version leaves its course."""
