// Open streams to nodes: one HTTP response each, a JSON message a line. A slow node gets the newest image, never a queue of old ones (B12).
import type { ServerResponse } from 'node:http';
import type { ToNode } from '@openclb/model';

export interface Stream {
  /** `image` is the finished line, shared by reference while it waits. */
  sendImage(line: string): void;
  send(message: ToNode): boolean;
  close(): void;
}

/** Small messages may wait behind an image; beyond this the node is too slow and is disconnected. */
const BACKLOG_BYTES_MAX = 8 * 1024 * 1024;

export function openStream(response: ServerResponse, onClose: () => void): Stream {
  let waitingImage: string | undefined;
  let isOpen = true;
  const flush = (): void => {
    if (!isOpen || waitingImage === undefined || response.writableNeedDrain) return;
    const line = waitingImage;
    waitingImage = undefined;
    response.write(line);
  };
  const end = (): void => {
    if (!isOpen) return;
    isOpen = false;
    waitingImage = undefined;
    onClose();
  };
  response.on('drain', flush);
  response.on('close', end);
  response.on('error', end);
  response.socket?.setNoDelay(true);
  response.writeHead(200, { 'content-type': 'application/x-ndjson', 'cache-control': 'no-store' });
  response.flushHeaders();
  return {
    sendImage(line) {
      waitingImage = line;
      flush();
    },
    send(message) {
      if (!isOpen) return false;
      if (response.writableLength > BACKLOG_BYTES_MAX) {
        response.destroy();
        return false;
      }
      response.write(`${JSON.stringify(message)}\n`);
      return true;
    },
    close() {
      end();
      // Not ended but cut: an orderly end would put the connection back into the node's pool just before it dies.
      response.destroy();
    },
  };
}
