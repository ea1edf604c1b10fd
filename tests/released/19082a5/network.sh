ip tuntap add dev hvf7438a6ac3b mode tap user 0 vnet_hdr
ip link set hvf7438a6ac3b address 02:a9:fe:00:00:01 mtu 1500
ip link set hvf7438a6ac3b alias hyperd:released:f7438a6a-c3b4-4d76-ad59-788d5300edfc
sysctl -qw net/ipv4/conf/hvf7438a6ac3b/accept_redirects=0
sysctl -qw net/ipv4/conf/hvf7438a6ac3b/accept_source_route=0
sysctl -qw net/ipv4/conf/hvf7438a6ac3b/forwarding=1
sysctl -qw net/ipv4/conf/hvf7438a6ac3b/proxy_arp=1
sysctl -qw net/ipv4/conf/hvf7438a6ac3b/rp_filter=1
sysctl -qw net/ipv4/conf/hvf7438a6ac3b/send_redirects=0
sysctl -qw net/ipv4/neigh/hvf7438a6ac3b/proxy_delay=0
sysctl -qw net/ipv6/conf/hvf7438a6ac3b/disable_ipv6=1
sysctl -qw net/ipv6/conf/hvf7438a6ac3b/mtu=1500
ip address add 10.66.10.1/32 dev hvf7438a6ac3b
ip link set hvf7438a6ac3b up
ip rule add to 10.66.10.0/24 lookup 1490 priority 1490 protocol 149
ip route add blackhole 10.66.10.0/24 metric 100 table 1490 proto 149
ip route add 10.66.10.77 dev hvf7438a6ac3b scope link table 1490 proto 149
