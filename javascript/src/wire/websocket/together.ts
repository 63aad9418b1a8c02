/** A stream over a WebSocket: what goes into one message. */

/** The parts of a stream as few messages of at most `most` bytes; one that is larger is cut. */
export function together(parts: readonly Uint8Array[], most: number): (readonly Uint8Array[])[] {
  let size = 0;
  for (const { length } of parts) size += length;
  if (size <= most) return [parts];
  const messages: Uint8Array[][] = [];
  let room = 0;
  for (const part of parts) {
    for (let at = 0; at < part.length; ) {
      if (room === 0) {
        messages.push([]);
        room = most;
      }
      const piece = part.subarray(at, at + room);
      messages.at(-1)!.push(piece);
      at += piece.length;
      room -= piece.length;
    }
  }
  return messages;
}
