// The address table of an image bank: (kind, net, address, port, protocol) → value. Open addressing; written by src/image.ts, which
// uses the same hash. An attacker chooses what is looked up but not what is in it, so the hash needs no key.
import { ADDRESS_ENTRY_BYTES, AddressEntry, AddressKind, NONE } from '../layout.gen';
import { addressMask, addresses } from '../memory';

export function findAddress(kind: AddressKind, net: u32, address: usize, port: u32, protocol: u32): u32 {
  return AddressTable.find(net, address, port | (protocol << 16) | (<u32>kind << 24));
}

/** Slot of the listener of a public VIP: the one question that every packet asks, so it stands where it is asked. */
export function findListener(address: usize, port: u32, protocol: u32): u32 {
  return AddressTable.find(0, address, port | (protocol << 16) | (<u32>AddressKind.Listener << 24));
}

class AddressTable {
  @inline static find(net: u32, address: usize, detail: u32): u32 {
    const high = load<u64>(address);
    const low = load<u64>(address, 8);
    let at = hashAddress(high, low, net, detail) & addressMask;
    // The writer keeps the table at most half full, so a probe ends.
    for (let count: u32 = 0; count <= addressMask; count++) {
      const entry = AddressEntry.at(addresses + <usize>at * ADDRESS_ENTRY_BYTES);
      const found = load<u32>(changetype<usize>(entry), offsetof<AddressEntry>('port'));
      if (found == detail) {
        if (((entry.addressLow ^ low) | (entry.addressHigh ^ high) | (entry.net ^ net)) == 0) return entry.value;
      } else if (found >> 24 == AddressKind.Empty) return NONE;
      at = (at + 1) & addressMask;
    }
    return NONE;
  }
}

/** Multiplications that do not wait for each other, then the finish of MurmurHash3. src/address-table.ts has the same. */
function hashAddress(high: u64, low: u64, net: u32, detail: u32): u32 {
  let hash = <u32>low * 0xc2b2ae3d + <u32>(low >> 32) * 0x27d4eb2f + net * 0x165667b1 + detail * 0xd3a2646d;
  // IPv4 has nothing there.
  if (high != 0) hash += <u32>high * 0x9e3779b1 + <u32>(high >> 32) * 0x85ebca77;
  hash = (hash ^ (hash >> 16)) * 0x85ebca6b;
  hash = (hash ^ (hash >> 13)) * 0xc2b2ae35;
  return hash ^ (hash >> 16);
}
