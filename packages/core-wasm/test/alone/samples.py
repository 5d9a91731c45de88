# Frames of every header that the dissector knows, made by scapy: one line of hexadecimal digits each, with a name in front.
from scapy.all import (
    AH, ARP, Dot1AD, Dot1Q, Ether, GRE, ICMP, ICMPv6DestUnreach, ICMPv6EchoRequest, ICMPv6ND_NA, ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr, ICMPv6NDOptSrcLLAddr, ICMPv6PacketTooBig, IP, IPOption_Router_Alert, IPerror6, IPv6,
    IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop, IPv6ExtHdrRouting, PadN, Raw, RouterAlert, SCTP,
    SCTPChunkData, SCTPChunkInit, TCP, UDP, VXLAN,
)

E = Ether(src='02:00:00:00:00:01', dst='02:00:00:00:00:02')
V4 = IP(src='198.51.100.1', dst='203.0.113.10', tos=0x2a, id=7, flags='DF', ttl=61)
V6 = IPv6(src='2001:db8::1', dst='2001:db8:1::2', tc=0x2a, fl=0x12345, hlim=61)
IN4 = IP(src='10.0.0.1', dst='10.0.0.2')
OPTIONS = [('MSS', 1460), ('SAckOK', b''), ('Timestamp', (7, 9)), ('NOP', None), ('WScale', 7)]
SYN = TCP(sport=40000, dport=443, seq=1000, flags='S', options=OPTIONS)
DATA = TCP(sport=40000, dport=443, seq=1001, ack=5, flags='PA', options=[('NOP', None), ('NOP', None), ('SAck', (50, 60, 70, 80))])
FRAMES = {
    'tcp4': E / V4 / SYN,
    'tcp4 data': E / V4 / DATA / Raw(b'hello'),
    'tcp6': E / V6 / SYN,
    'udp4': E / V4 / UDP(sport=5353, dport=53) / Raw(b'question'),
    'udp6': E / V6 / UDP(sport=5353, dport=53) / Raw(b'odd'),
    'udp4 without checksum': E / V4 / UDP(sport=5353, dport=53, chksum=0) / Raw(b'question'),
    'options': E / IP(src='198.51.100.1', dst='203.0.113.10', options=[IPOption_Router_Alert()]) / UDP(sport=1, dport=2),
    'vlan': E / Dot1Q(vlan=42, prio=5) / V4 / SYN,
    'qinq': E / Dot1AD(vlan=7) / Dot1Q(vlan=42) / V6 / SYN,
    'arp': E / ARP(op=1, hwsrc='02:00:00:00:00:01', psrc='10.0.0.1', pdst='10.0.0.2'),
    'icmp echo': E / V4 / ICMP(type=8, id=77, seq=3) / Raw(b'ping'),
    'icmp too big': E / V4 / ICMP(type=3, code=4, nexthopmtu=1400) / IN4 / TCP(sport=80, dport=40000),
    'icmpv6 echo': E / V6 / ICMPv6EchoRequest(id=77, seq=3, data=b'ping'),
    'icmpv6 too big': E / V6 / ICMPv6PacketTooBig(mtu=1280) / IPerror6(src='2001:db8::9', dst='2001:db8::1') / UDP(sport=1, dport=2),
    'icmpv6 unreachable': E / V6 / ICMPv6DestUnreach(code=4) / IPerror6(src='2001:db8::9', dst='2001:db8::1') / TCP(sport=1, dport=2),
    'nd solicitation': E / IPv6(src='fe80::1', dst='ff02::1:ff00:2', hlim=255) / ICMPv6ND_NS(tgt='fe80::2') / ICMPv6NDOptSrcLLAddr(lladdr='02:00:00:00:00:01'),
    'nd advertisement': E / IPv6(src='fe80::2', dst='fe80::1', hlim=255) / ICMPv6ND_NA(tgt='fe80::2', R=0, S=1, O=1) / ICMPv6NDOptDstLLAddr(lladdr='02:00:00:00:00:02'),
    'extensions': E / V6 / IPv6ExtHdrHopByHop(options=[RouterAlert(), PadN(optdata=b'')]) / IPv6ExtHdrDestOpt(options=[PadN(optdata=b'\0\0\0\0')]) / IPv6ExtHdrRouting(type=2, segleft=0, addresses=['2001:db8::7']) / UDP(sport=1, dport=2) / Raw(b'x'),
    'fragment6': E / V6 / IPv6ExtHdrFragment(id=99, m=1, nh=17) / Raw(bytes(UDP(sport=1, dport=2, len=100, chksum=1)) + b'x' * 8),
    'fragment4': E / IP(src='198.51.100.1', dst='203.0.113.10', frag=20, proto=17, id=9) / Raw(b'y' * 16),
    'gre': E / V4 / GRE(proto=0x800) / IN4 / SYN,
    'gre key': E / V4 / GRE(proto=0x800, key_present=1, key=100) / IN4 / SYN,
    'gre everything': E / V4 / GRE(proto=0x86DD, chksum_present=1, key_present=1, key=7, seqnum_present=1, seqence_number=5) / V6 / UDP(sport=1, dport=2),
    'ipip': E / V4 / IN4 / UDP(sport=1, dport=2) / Raw(b'z'),
    '6in4': E / V4 / V6 / SYN,
    '4in6': E / V6 / IN4 / SYN,
    'vxlan': E / V4 / UDP(sport=50000, dport=4789, chksum=0) / VXLAN(vni=5000, flags='Instance') / E / IN4 / SYN,
    'sctp': E / V4 / SCTP(sport=36412, dport=36413, tag=0x1234) / SCTPChunkInit(init_tag=5, a_rwnd=1500, n_out_streams=1, n_in_streams=1, init_tsn=1),
    'sctp data': E / V6 / SCTP(sport=1, dport=2, tag=9) / SCTPChunkData(tsn=1, data=b'abcde'),
    'ah': E / V4 / AH(nh=17, payloadlen=4, spi=7, seq=1, icv=b'\0' * 12) / UDP(sport=1, dport=2),
    'wrong ip checksum': E / IP(src='198.51.100.1', dst='203.0.113.10', chksum=0x1234) / UDP(sport=1, dport=2),
    'wrong tcp checksum': E / V4 / TCP(sport=1, dport=2, chksum=0x1234),
    'wrong udp checksum': E / V6 / UDP(sport=1, dport=2, chksum=0x1234),
    'wrong icmp checksum': E / V4 / ICMP(type=8, chksum=0x1234),
    'wrong sctp checksum': E / V4 / SCTP(sport=1, dport=2, chksum=0x1234) / SCTPChunkData(data=b'abcd'),
    'padded': E / V4 / UDP(sport=1, dport=2) / Raw(b''),
}
for name, frame in FRAMES.items():
    data = bytes(frame)
    if name == 'padded':
        data += b'\0' * (60 - len(data))
    print(f'{name}\t{data.hex()}')
