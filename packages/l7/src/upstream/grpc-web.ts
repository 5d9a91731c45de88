// gRPC-Web → gRPC and back (PROTOCOL-WEB of gRPC): the same frames, but trailers are a last frame of the body, and the text form is
// base64, which may be padded wherever a chunk of it ends.

/** First byte of the frame that carries trailers. */
const TRAILERS = 0x80;
const WEB = /^application\/grpc-web(-text)?(\+[a-z0-9.-]+)?(?:;|$)/i;
const NOT_BASE64 = /[^A-Za-z0-9+/=\s]/;

export class GrpcWeb {
  readonly isText: boolean;
  /** `+proto` and the like. */
  readonly #suffix: string;
  #waiting = '';

  private constructor(isText: boolean, suffix: string) {
    this.isText = isText;
    this.#suffix = suffix;
  }

  /** Null: this is no gRPC-Web. */
  static of(contentType: string): GrpcWeb | null {
    const found = WEB.exec(contentType);
    return found === null ? null : new GrpcWeb(found[1] !== undefined, found[2] ?? '');
  }

  /** Names and values for the target. */
  requestFields(fields: readonly string[]): string[] {
    const list: string[] = [];
    for (let at = 0; at < fields.length; at += 2) {
      const name = fields[at]!;
      if (name === 'content-type') list.push(name, `application/grpc${this.#suffix}`);
      // Decoded or framed anew, the body has another length.
      else if (name !== 'content-length' && name !== 'x-grpc-web' && name !== 'accept')
        list.push(name, fields[at + 1]!);
    }
    return list;
  }

  /** Lines for the client. */
  responseFields(lines: string): string {
    const kept = lines
      .split('\r\n')
      .filter((line) => line !== '' && !/^(?:content-type|content-length|trailer):/i.test(line))
      .map((line) => `${line}\r\n`)
      .join('');
    return `${kept}Content-Type: application/grpc-web${this.isText ? '-text' : ''}${this.#suffix}\r\n`;
  }

  /** Content of the request for the target; null: it is no base64. */
  request(part: Buffer): Buffer | null {
    if (!this.isText) return part;
    const text = this.#waiting + part.toString('latin1');
    if (NOT_BASE64.test(text)) return null;
    const clean = text.replaceAll(/\s/g, '');
    const usable = clean.length - (clean.length % 4);
    this.#waiting = clean.slice(usable);
    const parts: Buffer[] = [];
    // Each padded piece stands alone.
    for (const piece of clean.slice(0, usable).match(/[^=]+={0,2}/g) ?? []) parts.push(Buffer.from(piece, 'base64'));
    return Buffer.concat(parts);
  }

  /** Content of the answer for the client; padded each time, because the end of a message must not wait for the next one. */
  response(part: Buffer): Buffer {
    return this.isText ? Buffer.from(part.toString('base64'), 'latin1') : part;
  }

  /** The last bytes of the answer: the trailers as a frame. */
  end(trailers: string): Buffer {
    const payload = Buffer.from(trailers, 'latin1');
    const head = Buffer.alloc(5);
    head[0] = TRAILERS;
    head.writeUInt32BE(payload.length, 1);
    return this.response(Buffer.concat([head, payload]));
  }
}
