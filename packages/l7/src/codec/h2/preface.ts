// The first bytes of a client that speaks HTTP/2 without having asked (RFC 9113 3.4).

export const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
