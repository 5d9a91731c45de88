// What an encoder's output does to the exchange: chunks to the client, back-pressure both ways, and the end of the response.
import type { FailureCode } from '../phase/fail.ts';
import type { Exchange } from '../state.ts';
import type { EncoderEvents } from './compress.ts';

export function encoderEvents(
  exchange: Exchange,
  giveUp: (exchange: Exchange, code: FailureCode) => void,
  settle: (exchange: Exchange) => void,
): EncoderEvents {
  const { downstream, serial } = exchange;
  const isOver = (): boolean => exchange.serial !== serial || !exchange.isActive;
  return {
    data(bytes) {
      if (isOver()) return;
      exchange.responseBytes += bytes.length;
      downstream.cork();
      downstream.write(`${bytes.length.toString(16)}\r\n`);
      downstream.write(bytes);
      downstream.write('\r\n');
      downstream.uncork();
      if (downstream.isBacklogged) exchange.encoder!.pause();
    },
    drained() {
      if (!isOver() && !downstream.isBacklogged) exchange.connection?.resume();
    },
    ended() {
      if (isOver()) return;
      downstream.write('0\r\n\r\n');
      settle(exchange);
    },
    failed() {
      if (!isOver()) giveUp(exchange, 'encoding-failed');
    },
  };
}
