"""Whether a candidate version may replace a baseline: evidence that holds at whatever moment one looks; pure."""
