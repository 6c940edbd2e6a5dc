"""What hosts the servicers and the REST application; they don't know which one it is."""
