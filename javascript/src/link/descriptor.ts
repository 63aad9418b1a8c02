/** Descriptors as Node's streams, without the thread pool: what Node reads files with would start four threads. */

import fs from "node:fs";
import net from "node:net";
import { Readable, Writable } from "node:stream";
import tty from "node:tty";

import { Fault } from "../wire/error.js";

/** What a descriptor is. */
export type DescriptorKind = "socket" | "pipe" | "terminal" | "file";

/** What this descriptor is; throws `not-found` when there is none. */
export function kindOf(fd: number): DescriptorKind {
  let found;
  try {
    found = fs.fstatSync(fd);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EBADF") throw error;
    throw new Fault("not-found", `this process has no descriptor ${fd}`);
  }
  if (found.isSocket()) return "socket";
  if (found.isFIFO()) return "pipe";
  return tty.isatty(fd) ? "terminal" : "file";
}

/** A stream that reads this descriptor. */
export function inputOf(fd: number): Readable {
  const kind = kindOf(fd);
  if (kind === "terminal") return new tty.ReadStream(fd);
  return kind === "file" ? fileInput(fd) : new net.Socket({ fd, readable: true, writable: false, allowHalfOpen: true });
}

/** A stream that writes this descriptor. */
export function outputOf(fd: number): Writable {
  const kind = kindOf(fd);
  if (kind === "terminal") return new tty.WriteStream(fd);
  return kind === "file" ? fileOutput(fd) : new net.Socket({ fd, readable: false, writable: true, allowHalfOpen: true });
}

/** Which ways this descriptor goes. */
export function waysOf(fd: number): { reads: boolean; writes: boolean } {
  let flags;
  try {
    flags = parseInt(/^flags:\s*([0-7]+)/m.exec(fs.readFileSync(`/proc/self/fdinfo/${fd}`, "latin1"))?.[1] ?? "2", 8);
  } catch {
    flags = fs.constants.O_RDWR;
  }
  const way = flags & 3;
  return { reads: way !== fs.constants.O_WRONLY, writes: way !== fs.constants.O_RDONLY };
}

/** Whether this descriptor is a socket that listens, as socket activation hands it over. Known on Linux only. */
export function isListening(fd: number): boolean {
  const inode = inodeOf(fd);
  if (inode === undefined) return false;
  // Columns of proc(5): a listening Unix socket has the flag __SO_ACCEPTCON, a listening TCP socket the state 0A.
  const unix = rows("/proc/net/unix").some((row) => row[6] === inode && (parseInt(row[3]!, 16) & 0x10000) !== 0);
  return unix || ["/proc/net/tcp", "/proc/net/tcp6"].some((file) => rows(file).some((row) => row[9] === inode && row[3] === "0A"));
}

/** Whether this descriptor is a socket of packets or datagrams. Known on Linux only. */
export function isPackets(fd: number): boolean {
  const inode = inodeOf(fd);
  if (inode === undefined) return false;
  // The column of the type holds 0001 for SOCK_STREAM.
  const unix = rows("/proc/net/unix").some((row) => row[6] === inode && row[4] !== "0001");
  return unix || ["/proc/net/udp", "/proc/net/udp6"].some((file) => rows(file).some((row) => row[9] === inode));
}

function inodeOf(fd: number): string | undefined {
  try {
    return /^socket:\[(\d+)\]$/.exec(fs.readlinkSync(`/proc/self/fd/${fd}`))?.[1];
  } catch {
    return undefined;
  }
}

function rows(file: string): string[][] {
  try {
    return fs
      .readFileSync(file, "latin1")
      .split("\n")
      .map((line) => line.trim().split(/\s+/));
  } catch {
    return [];
  }
}

function fileInput(fd: number): Readable {
  const chunk = 64 * 1024;
  return new Readable({
    read() {
      // Files are always ready; one chunk a turn leaves room for the rest of the loop.
      setImmediate(() => {
        try {
          const bytes = Buffer.allocUnsafeSlow(chunk);
          const count = fs.readSync(fd, bytes, 0, chunk, null);
          this.push(count === 0 ? null : bytes.subarray(0, count));
        } catch (error) {
          this.destroy(error as Error);
        }
      });
    },
  });
}

function fileOutput(fd: number): Writable {
  return new Writable({
    write(bytes: Uint8Array, _encoding, done) {
      try {
        for (let at = 0; at < bytes.length; ) at += fs.writeSync(fd, bytes, at);
        done();
      } catch (error) {
        done(error as Error);
      }
    },
  });
}
