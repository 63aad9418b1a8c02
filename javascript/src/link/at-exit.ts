/** Files that must not outlive this process. */

const files = new Set<{ remove(): void }>();
let watched = false;

/** Removes a file when this process exits; what it answers forgets that. */
export function removeAtExit(file: { remove(): void }): () => void {
  files.add(file);
  if (!watched) process.on("exit", () => [...files].forEach((each) => each.remove()));
  watched = true;
  return () => files.delete(file);
}
