"""How good answers are: labels that come later are joined to what was answered."""
