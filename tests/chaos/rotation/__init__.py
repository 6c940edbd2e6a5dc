"""More models than a node has room for, loaded and unloaded hundreds of times: nothing may be left of that."""
