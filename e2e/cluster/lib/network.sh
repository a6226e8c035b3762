# shellcheck shell=bash
# The cluster's network. A bridge in a namespace of its own, the fabric, joins the control plane, the nodes and the
# host. No namespace has a route out of the machine.
#
# All IPv4 addresses are of 198.18.0.0/15, which is reserved for tests on isolated networks (RFC 2544), so that they
# hide nothing that a host may want to reach. Cluster INDEX (0 to 3) owns a /17 of it, and fd53:4d49:INDEX::/48:
#   fabric      .0/24 of the block: host .1, control plane .10, node N .(10+N)
#   pods        a /19, of which node N has a /24; in IPv6 a /56 and a /64
#   Services    a /18; in IPv6 a /108

MAX_INDEX=3
# Marks the routes that this tool makes on the host, and loses against every other route.
HOST_ROUTE_METRIC=4186

derive_addresses() {
  local first=198.$((18 + INDEX / 2)) third=$((INDEX % 2 * 128))
  BLOCK=$first.$third.0/17
  FABRIC=$first.$third
  POD_PREFIX=$first POD_THIRD=$((third + 32))
  POD_RANGE=$POD_PREFIX.$POD_THIRD.0/19
  SERVICE_RANGE=$first.$((third + 64)).0/18
  CLUSTER_DNS=$first.$((third + 64)).10
  BLOCK6=fd53:4d49:$INDEX::/48
  FABRIC6=fd53:4d49:$INDEX:
  POD_RANGE6=fd53:4d49:$INDEX:100::/56
  SERVICE_RANGE6=fd53:4d49:$INDEX:ffff::/108
  CONTROL_IP=$FABRIC.10
  HOST_LINK=$NAME-host
}

node_ip() { echo "$FABRIC.$((10 + $1))"; }
node_ip6() { echo "$FABRIC6:$((10 + $1))"; }
pod_subnet() { echo "$POD_PREFIX.$((POD_THIRD + $1)).0/24"; }
pod_subnet6() { printf 'fd53:4d49:%s:1%02x::/64\n' "$INDEX" "$1"; }

# Sets INDEX to the first one whose addresses neither another cluster nor the host uses.
choose_index() {
  local taken
  taken=" $(find "$STATE_ROOT" -mindepth 2 -maxdepth 2 -name settings -exec sed -n 's/^INDEX=//p' {} + | tr '\n' ' ') "
  for ((INDEX = 0; INDEX <= MAX_INDEX; INDEX++)); do
    [[ $taken == *" $INDEX "* ]] && continue
    derive_addresses
    [[ -z $(foreign_routes) ]] || continue
    # Left over from a cluster whose state somebody deleted.
    delete_host_routes
    return 0
  done
  die "no free addresses: $((MAX_INDEX + 1)) clusters are possible, and the host must have no routes of its own into 198.18.0.0/15 and fd53:4d49::/32 (see 'ip route')"
}

# Routes of the host into the block, other than the unreachable ones of this tool.
foreign_routes() {
  { ip -4 route show root "$BLOCK"; ip -6 route show root "$BLOCK6"; } | grep -v "^unreachable .* metric $HOST_ROUTE_METRIC" || true
}

namespace() { echo "/run/netns/$NAME-$1"; }

# in_namespace WHERE COMMAND...: WHERE is fabric, control, or nodeN.
in_namespace() { nsenter --net="$(namespace "$1")" "${@:2}"; }

existing_namespaces() { [[ ! -d /run/netns ]] || find /run/netns -maxdepth 1 -regextype posix-extended -regex "/run/netns/$NAME-(fabric|control|node[0-9]+)" -printf '%f\n'; }

# Commands for `ip -batch` that join namespace WHERE to the fabric.
link_commands() {
  echo "link add $NAME-$1 netns $NAME-fabric type veth peer name eth0 netns $NAME-$1"
}

# Commands inside namespace WHERE: its own addresses. IPV6 needs no duplicate detection on a bridge of our own.
address_commands() {
  echo "link set lo up"
  echo "address add $1/24 dev eth0"
  echo "address add $2/64 dev eth0 nodad"
  echo "link set eth0 up"
}

# The routes from WHERE (a node's number, or 0 for the control plane) to the pods of every other node.
pod_route_commands() {
  local node
  for ((node = 1; node <= NODES; node++)); do
    ((node == $1)) && continue
    echo "route add $(pod_subnet $node) via $(node_ip $node)"
    echo "route add $(pod_subnet6 $node) via $(node_ip6 $node)"
  done
}

# A node reaches its own pods by a route each, and a pod that is gone not at all, and says so at once. Packets that
# the node itself sends to a ClusterIP need some route before the NAT rules see them: one to a bridge without ports.
node_route_commands() {
  echo "route add unreachable $(pod_subnet "$1") metric 4000"
  echo "route add unreachable $(pod_subnet6 "$1") metric 4000"
  echo "link add services type bridge"
  echo "link set services up"
  echo "route add $SERVICE_RANGE dev services src $(node_ip "$1")"
  echo "route add $SERVICE_RANGE6 dev services src $(node_ip6 "$1")"
}

make_network() {
  local node where
  for where in fabric control $(seq -f 'node%g' "$NODES"); do ip netns add "$NAME-$where"; done
  {
    for where in control $(seq -f 'node%g' "$NODES"); do link_commands "$where"; done
    echo "link add $HOST_LINK type veth peer name $NAME-uplink netns $NAME-fabric"
  } | ip -batch -
  {
    echo "link add br0 type bridge"
    echo "link set br0 up"
    for where in control uplink $(seq -f 'node%g' "$NODES"); do echo "link set $NAME-$where master br0 up"; done
  } | ip -netns "$NAME-fabric" -batch -
  { address_commands "$CONTROL_IP" "$FABRIC6:10"; pod_route_commands 0; } | ip -netns "$NAME-control" -batch -
  for ((node = 1; node <= NODES; node++)); do
    in_namespace "node$node" sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 \
      net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 net.ipv6.conf.default.accept_dad=0
    {
      address_commands "$(node_ip "$node")" "$(node_ip6 "$node")"
      pod_route_commands "$node"
      node_route_commands "$node"
    } | ip -netns "$NAME-node$node" -batch -
  done
  join_host
}

# The host reaches the API server, and forwards nothing that comes from the cluster. Requests to pods and ClusterIPs
# fail at once, so that a stray one never leaves by the host's default route.
join_host() {
  sysctl -qw "net.ipv6.conf.$HOST_LINK.disable_ipv6=1" "net.ipv4.conf.$HOST_LINK.forwarding=0"
  ip address add "$FABRIC.1/24" dev "$HOST_LINK"
  ip link set "$HOST_LINK" up
  ip -4 route add unreachable "$BLOCK" metric $HOST_ROUTE_METRIC
  ip -6 route add unreachable "$BLOCK6" metric $HOST_ROUTE_METRIC
}

delete_host_routes() {
  ip -4 route delete unreachable "$BLOCK" metric $HOST_ROUTE_METRIC 2>/dev/null || true
  ip -6 route delete unreachable "$BLOCK6" metric $HOST_ROUTE_METRIC 2>/dev/null || true
}

delete_network() {
  local existing
  # Deleting one end of a pair deletes both.
  ip link delete "$NAME-host" 2>/dev/null || true
  for existing in $(existing_namespaces); do ip netns delete "$existing"; done
}
