"""Where other parts of the suite are: static lists, or Consul, and channels that follow.

``addresses`` (how they are written), ``peers`` (the known ones of a service), ``channel`` (calls to one of them),
``discovery`` (one process's dealings with Consul), ``consul_agent`` (the only module that imports py-consul, itself
imported only where Consul is used), ``metrics``.
"""
