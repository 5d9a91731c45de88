# Judges packets of a capture with scapy: every checksum is taken off, computed afresh and compared (TCP, UDP, SCTP's CRC32c); options are read.
# Prints one line a packet that is wrong, the number of those that are right, and the options of every SYN/ACK.
import sys

from scapy.all import IP, TCP, UDP, IPv6, rdpcap
from scapy.layers.sctp import SCTP

right = 0
for number, frame in enumerate(rdpcap(sys.argv[1]), 1):
    packet = frame[IP] if IP in frame else frame[IPv6]
    before = bytes(packet)
    again = packet.copy()
    for layer, field in ((IP, "chksum"), (TCP, "chksum"), (UDP, "chksum"), (SCTP, "chksum")):
        if layer in again:
            delattr(again[layer], field)
    for layer, field in ((IP, "len"), (IPv6, "plen"), (UDP, "len")):
        if layer in again:
            delattr(again[layer], field)
    if bytes(again) != before:
        print(number, packet.summary(), before.hex(), bytes(again).hex())
    else:
        right += 1
    if TCP in packet and packet[TCP].flags == "SA":
        print("synack", number, packet[TCP].window, packet[TCP].options)
print("right", right)
