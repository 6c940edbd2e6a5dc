"""Models, versions, artifacts, aliases and deployments: the truth that everything else follows."""
