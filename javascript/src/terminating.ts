/** Terminating: on SIGTERM servers of services finish what runs before the process ends. */

/** What can be finished. */
interface Finishing {
  close(): Promise<void>;
}

const servers = new Set<Finishing>();

/** Closes a server on SIGTERM, and ends the process then unless the program listens for the signal itself; until the promise that `done` is has settled. */
export function closeOnTerm(server: Finishing, done: Promise<unknown>): void {
  if (servers.size === 0) process.on("SIGTERM", terminate);
  servers.add(server);
  const forget = () => {
    servers.delete(server);
    if (servers.size === 0 && !ending) process.off("SIGTERM", terminate);
  };
  done.then(forget, forget);
}

let ending = false;

function terminate(): void {
  if (ending) return;
  ending = true;
  const others = process.listenerCount("SIGTERM") > 1;
  const closed = Promise.allSettled([...servers].map((server) => server.close()));
  // As a shell tells it of a process that the signal has ended.
  void closed.then(() => {
    ending = false;
    if (!others) process.exit(128 + 15);
    if (servers.size === 0) process.off("SIGTERM", terminate);
  });
}
