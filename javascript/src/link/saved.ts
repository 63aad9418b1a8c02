/** What had arrived on a socket whose write has failed. */

import fs from "node:fs";
import type { Duplex } from "node:stream";

/** So much of it is saved, in bytes. */
const most = 1024 * 1024;

/** A write that fails makes Node destroy a socket in the next tick, unread input included: the last replies of a peer that has closed. Reads them. */
export function savedFrom(socket: Duplex): Buffer[] {
  // Of a TLS socket this would be what was encrypted.
  const { fd } = (socket as { _handle?: { fd?: number } | null })._handle ?? {};
  if ((socket as { encrypted?: boolean }).encrypted === true || fd === undefined || fd < 0 || socket.readableLength > 0) return [];
  const chunks: Buffer[] = [];
  try {
    for (let size = 0; size < most; ) {
      const bytes = Buffer.allocUnsafeSlow(64 * 1024);
      const count = fs.readSync(fd, bytes);
      if (count === 0) break;
      chunks.push(bytes.subarray(0, count));
      size += count;
    }
  } catch {
    // Nothing more has arrived, or the connection was reset: the error of the write tells enough.
  }
  return chunks;
}
