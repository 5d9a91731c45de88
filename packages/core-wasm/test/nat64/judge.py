# Judges packets of a capture with scapy: every checksum is taken off, computed afresh and compared, also in the fragments of a datagram.
# Prints one line a packet that is wrong, and the number of those that are right.
import sys

from scapy.all import ICMP, IP, TCP, UDP, IPv6, IPv6ExtHdrFragment, Raw, rdpcap
from scapy.layers.inet6 import _ICMPv6

right = 0
for number, frame in enumerate(rdpcap(sys.argv[1]), 1):
    packet = frame[IP] if IP in frame and frame.payload.name == "IP" else frame[IPv6]
    before = bytes(packet)
    stated = packet.len if packet.name == "IP" else packet.plen + 40
    again = packet.copy()
    is_fragment = IPv6ExtHdrFragment in packet or (packet.name == "IP" and (packet.frag != 0 or packet.flags.MF))
    if packet.name == "IP":
        del again.chksum
    layer = again.payload
    if not is_fragment:
        if layer.name in ("TCP", "UDP", "ICMP") and not (layer.name == "UDP" and layer.chksum == 0):
            del layer.chksum
        elif isinstance(layer, _ICMPv6):
            del layer.cksum
    if stated != len(before):
        print(number, "length", stated, len(before))
    elif bytes(again) != before:
        print(number, packet.summary(), before.hex(), bytes(again).hex())
    else:
        right += 1
print("right", right)
