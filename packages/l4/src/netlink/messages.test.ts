// Netlink messages come from the kernel, but the parser must stand any bytes.
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { dumpRequest, messagesOf, MessageType, objectOf, resolveRequest } from './messages.ts';

test('any bytes are read to their end without an exception', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      const messages = [...messagesOf(bytes)];
      messages.forEach((message) => objectOf(message));
      const read = messages.reduce((sum, { body }) => sum + 16 + body.length, 0);
      expect(read).toBeLessThanOrEqual(bytes.length);
    }),
    { numRuns: 5000 },
  );
});

test('any body of a known type gives an object or nothing', () => {
  const types = fc.constantFrom(16, 17, 20, 21, 24, 25, 28, 29);
  fc.assert(
    fc.property(types, fc.uint8Array({ maxLength: 200 }), (type, body) => {
      const object = objectOf({ type, sequence: 0, body });
      expect(object === null || object.isGone === ((type & 1) === 1)).toBe(true);
    }),
    { numRuns: 5000 },
  );
});

test('requests have the length that they say', () => {
  const address = Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 1);
  for (const bytes of [dumpRequest(MessageType.GetRoute, 1), resolveRequest(3, address, true, 2)]) {
    expect(new DataView(bytes.buffer).getUint32(0, true)).toBe(bytes.length);
    expect([...messagesOf(bytes)]).toHaveLength(1);
  }
});
