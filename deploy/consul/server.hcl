# One Consul server on this machine, enough to try it:
#
#   consul agent -config-dir=deploy/consul -data-dir=/var/lib/consul
#   CONSUL_HTTP_ADDR=127.0.0.1:8500 penstock up
#   consul catalog services
#
# A real cluster has three or five servers (bootstrap_expect), and a client agent on each host that runs Penstock:
# services register with the agent beside them, which checks their health.
server           = true
bootstrap_expect = 1
bind_addr        = "127.0.0.1"
client_addr      = "127.0.0.1"
ui               = true

ports {
  grpc = -1
}
