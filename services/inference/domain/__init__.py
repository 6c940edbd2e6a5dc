"""What is true of models, batches and fleets; pure."""
