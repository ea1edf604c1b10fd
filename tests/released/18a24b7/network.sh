ip tuntap add dev hv3ddeedc3bf4 mode tap user 0 vnet_hdr
ip link set hv3ddeedc3bf4 address 02:a9:fe:00:00:01 mtu 1500
ip link set hv3ddeedc3bf4 alias hyperd:released:3ddeedc3-bf4e-45a7-8fca-9f38a4931abe
sysctl -qw net/ipv4/conf/hv3ddeedc3bf4/accept_redirects=0
sysctl -qw net/ipv4/conf/hv3ddeedc3bf4/accept_source_route=0
sysctl -qw net/ipv4/conf/hv3ddeedc3bf4/forwarding=1
sysctl -qw net/ipv4/conf/hv3ddeedc3bf4/proxy_arp=1
sysctl -qw net/ipv4/conf/hv3ddeedc3bf4/rp_filter=1
sysctl -qw net/ipv4/conf/hv3ddeedc3bf4/send_redirects=0
sysctl -qw net/ipv4/neigh/hv3ddeedc3bf4/proxy_delay=0
sysctl -qw net/ipv6/conf/hv3ddeedc3bf4/disable_ipv6=1
sysctl -qw net/ipv6/conf/hv3ddeedc3bf4/mtu=1500
ip address add 10.66.10.1/32 dev hv3ddeedc3bf4
ip link set hv3ddeedc3bf4 up
ip rule add to 10.66.10.0/24 lookup 1490 priority 1490 protocol 149
ip route add blackhole 10.66.10.0/24 metric 100 table 1490 proto 149
ip route add 10.66.10.77 dev hv3ddeedc3bf4 scope link table 1490 proto 149
