# Judges a capture with scapy: the checksums of every layer, outer and inner, as scapy's own sums and pseudo headers say. Prints a line for each
# wrong one, and how many of each kind were right. Of fragments only the header is judged, of a packet in an error only what encloses it.
import collections
import sys

from scapy.all import GRE, ICMP, IP, TCP, UDP, IPv6, IPv6ExtHdrFragment, Padding, checksum, in4_chksum, in6_chksum, rdpcap
from scapy.layers.inet import IPerror
from scapy.layers.inet6 import IPerror6, _ICMPv6
from scapy.layers.sctp import SCTP, crc32c

right = collections.Counter()


def verdict(number, kind, is_right):
    if is_right:
        right[kind] += 1
    else:
        print("packet", number, kind)


def transport(number, packet, ip):
    layer = ip.payload
    while layer and layer.name.startswith("IPv6 Extension Header"):
        layer = layer.payload
    # What scapy took the layer from, without the padding of the frame: IPv4 says how long it is, and what scapy makes of a quote does not matter.
    end = ip.len - ip.ihl * 4 if ip.version == 4 else len(layer.original) - (len(ip[Padding].load) if Padding in ip else 0)
    data = layer.original[:end]
    # scapy takes a source route that is spent for one that still leads elsewhere; the pseudo header has the header's own addresses.
    if ip.version == 4:
        ip = IP(src=ip.src, dst=ip.dst, ihl=ip.ihl, len=ip.len)
    if isinstance(layer, SCTP):
        if len(data) < 16:
            return  # Without one whole chunk, and scapy loses what is there.
        stated = int.from_bytes(data[8:12], "big")
        verdict(number, "SCTP", crc32c(data[:8] + bytes(4) + data[12:]) == stated)
    elif isinstance(layer, ICMP):
        verdict(number, "ICMP", checksum(data) == 0)
    elif isinstance(layer, UDP):
        data = data[: layer.len]
        if layer.chksum == 0:
            verdict(number, "UDP without", ip.version == 4)
        else:
            verdict(number, "UDP", (in4_chksum if ip.version == 4 else in6_chksum)(17, ip, data) == 0)
    elif isinstance(layer, TCP):
        verdict(number, "TCP", (in4_chksum if ip.version == 4 else in6_chksum)(6, ip, data) == 0)
    elif isinstance(layer, _ICMPv6):
        verdict(number, "ICMPv6", in6_chksum(58, ip, data) == 0)
    elif isinstance(layer, GRE):
        right["GRE"] += 1


for number, frame in enumerate(rdpcap(sys.argv[1]), 1):
    depth = 0
    layer = frame.payload
    while layer:
        if isinstance(layer, (IPerror, IPerror6)):
            break
        if isinstance(layer, (IP, IPv6)):
            where = "outer " if depth == 0 and layer.payload.name in ("GRE", "IP", "IPv6") else ""
            depth += 1
            if layer.version == 4:
                verdict(number, where + "IPv4", checksum(layer.original[: layer.ihl * 4]) == 0)
                is_fragment = layer.frag != 0 or layer.flags.MF
            else:
                right[where + "IPv6"] += 1
                is_fragment = IPv6ExtHdrFragment in layer and (layer[IPv6ExtHdrFragment].offset != 0 or layer[IPv6ExtHdrFragment].m)
            if is_fragment:
                right["fragment"] += 1
                break
            transport(number, frame, layer)
        layer = layer.payload
print(" ".join(f"{kind.replace(' ', '-')}={count}" for kind, count in sorted(right.items())))
