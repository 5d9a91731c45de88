// Digests of the domain names of a listener (data-plane.md P27), by which the address table knows them. assembly/binding/name.ts makes the
// same of what a client asks for.
const DIGEST_HIGH = 0xcbf29ce484222325n;
const DIGEST_LOW = 0x6c62272e07bb0142n;
const DIGEST_PRIME = 0x100000001b3n;

/** 16 bytes for a name like `www.example.com` or `*.example.com`, upper case or lower. */
export function domainDigest(domain: string): Uint8Array {
  let high = DIGEST_HIGH;
  let low = DIGEST_LOW;
  for (const letter of new TextEncoder().encode(domain.toLowerCase())) {
    high = BigInt.asUintN(64, (high ^ BigInt(letter)) * DIGEST_PRIME);
    low = BigInt.asUintN(64, (low ^ BigInt(letter)) * DIGEST_PRIME);
  }
  const digest = new DataView(new ArrayBuffer(16));
  digest.setBigUint64(0, high, true);
  digest.setBigUint64(8, low, true);
  return new Uint8Array(digest.buffer);
}
