"""What is true of models, requests and time; pure."""
