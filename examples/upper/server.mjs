// The founding example's server in Node.
import { serve } from "panpipe";

await serve("tcp://localhost:9999?framing=raw", (message) => String(message).toUpperCase());
