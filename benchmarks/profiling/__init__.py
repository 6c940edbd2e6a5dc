"""Where a request's time goes, stage by stage: from the spans that the suite makes anyway, and from sampled stacks."""
